"""How many runs an approval holds for, and which patients each run has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from medfl.errors import ExchangeError, PolicyError
from medfl.privacy import ledger_rows
from medfl.privacy.ledger import Ledger
from medfl.privacy.ledger_records import RunCases
from medfl.privacy.patient_sets import Splits
from medfl.privacy.questions import Kind
from tests.privacy.asking import HASH, STUDY, answer, ask, reply
from tests.privacy.ledger_steps import again, clock, ledger, refusal

__all__ = ["clock", "ledger"]  # fixtures


@pytest.mark.parametrize(("kind", "n"), [("train", 1), ("validation", 4), ("test", 0), ("fingerprint", 0)])
def test_an_approval_holds_for_three_runs_and_for_those_that_are_added(kind: Kind, n: int, ledger: Ledger) -> None:
    for run in ("r1", "r2", "r3"):
        answer(ledger, ask("join", run=run))
        ledger.fail(ledger.reserve(HASH, ask(kind, n, run=run), STUDY), "LATE")  # what was only reserved counts, too
    assert again(ledger, ask("join", run="r1")) is not None
    assert refusal(ledger, ask(kind, n, run="r4")) == "RUNS-SPENT"
    assert refusal(ledger, ask("join", run="r4")) == "RUNS-SPENT"
    assert ledger.allow_runs(HASH, "tiny") == 3  # withdrawn, and approved again
    assert refusal(ledger, ask("join", run="r4")) == "RUNS-SPENT"
    assert ledger.add_runs(HASH, 2) == 5
    answer(ledger, ask("join", run="r4"))
    assert ledger.allow_runs(HASH, "tiny", 1) == 1
    assert refusal(ledger, ask("join", run="r5")) == "RUNS-SPENT"
    assert ledger.add_runs("0" * 64, 1) == 0


def test_a_run_that_only_joined_leaves_the_runs_of_its_approval_to_others(ledger: Ledger) -> None:
    runs = [f"r{n}" for n in range(10)]
    for run in runs:
        answer(ledger, ask("join", run=run))
    for run in runs[:3]:
        answer(ledger, ask("train", 1, run=run))
    (usage,) = ledger.list_usage()
    assert (usage.runs_begun, usage.runs_joined) == (3, 7)
    assert [run.has_begun for run in usage.runs] == [True] * 3 + [False] * 7
    for question in (ask("join", run="r3"), ask("train", 1, run="r3"), ask("join", run="new")):
        assert refusal(ledger, question) == "RUNS-SPENT"  # at joining already, so that nobody waits for it in vain
    answer(ledger, ask("train", 2, run="r0"))
    assert again(ledger, ask("join", run="r0")) is not None
    ledger.add_runs(HASH, 1)
    answer(ledger, ask("train", 1, run="r3"))


def test_runs_that_only_join_are_limited(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rows, "JOINED_RUNS_ALLOWED", 2)
    for n in range(3 + 2):
        ledger.fail(ledger.reserve(HASH, ask("join", run=f"r{n}"), STUDY), "SITE-TOO-SMALL")
    assert refusal(ledger, ask("join", run="r5")) == refusal(ledger, ask("train", 1, run="r5")) == "RUNS-SPENT"
    answer(ledger, ask("join", run="r4"))  # it is resumed
    answer(ledger, ask("train", 1, run="r4"))
    assert refusal(ledger, ask("join", run="r5")) == "RUNS-SPENT"
    ledger.add_runs(HASH, 1)
    answer(ledger, ask("join", run="r5"))


def test_two_runs_that_begin_at_once_do_not_both_get_the_last_one(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.allow_runs(HASH, "tiny", 1)
    answer(ledger, ask("join", run="r1"))
    begin_run = ledger.begin_run

    def overtaken(study_hash: str, study_name: str, run: str) -> None:
        begin_run(study_hash, study_name, run)
        Ledger(tmp_path / "budget").reserve(HASH, ask("train", 1, run="r2"), STUDY)

    monkeypatch.setattr(ledger, "begin_run", overtaken)
    assert refusal(ledger, ask("train", 1, run="r1")) == "RUNS-SPENT"


def test_a_run_with_another_name_asks_anew_within_its_approval(ledger: Ledger) -> None:
    answer(ledger, ask("train", 1), 0.1)
    assert again(ledger, ask("train", 1, run="r2")) is None


@pytest.mark.parametrize("run", ["", "../r1", "r" * 101, "r\n", "r 1"])
def test_a_run_has_a_name_that_can_be_shown(ledger: Ledger, run: str) -> None:
    with pytest.raises(ExchangeError, match="RUN-NAME"):
        ledger.begin_run(HASH, "tiny", run)


def test_joining_is_free_within_a_daily_limit(ledger: Ledger, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rows, "JOINS_COMPUTED", 2)
    monkeypatch.setattr(ledger_rows, "JOINS_GIVEN", 3)
    for _ in range(2):
        ledger.fail(ledger.reserve(HASH, ask("join"), STUDY), "SITE-TOO-SMALL")
    assert refusal(ledger, ask("join")) == "JOIN-LIMIT"
    clock.append(clock[-1] - 86400)  # a clock that is put back gives no more
    assert refusal(ledger, ask("join")) == "JOIN-LIMIT"
    clock.append(clock[0] + 86400)
    answer(ledger, ask("join"))
    for _ in range(3):
        assert again(ledger, ask("join", model="of another version")) is not None
    assert refusal(ledger, ask("join")) == "JOIN-LIMIT"


def test_the_patients_of_a_run_are_fixed_and_only_become_fewer(ledger: Ledger) -> None:
    def fix(run: str, splits: Splits) -> tuple[Splits | None, list[tuple[str, str, Splits]]]:
        seen: list[tuple[Splits | None, list[tuple[str, str, Splits]]]] = []

        def choose(before: Splits | None, earlier: Sequence[RunCases]) -> Splits:
            seen.append((before, [(each.study_name, each.run, each.splits) for each in earlier]))
            return splits

        assert ledger.choose_cases(HASH, run, choose) == splits
        return seen[0]

    assert ledger.fixed_cases(HASH, "r1") is None
    first = {"train": frozenset("abc"), "validation": frozenset("d"), "test": frozenset[str]()}
    assert fix("r1", first) == (None, [])
    ledger.begin_run(HASH, "tiny", "r1")
    assert ledger.fixed_cases(HASH, "r1") == first
    fewer = first | {"train": frozenset("ab")}
    assert fix("r1", fewer) == (first, [("tiny", "r1", first)])
    assert ledger.fixed_cases(HASH, "r1") == fewer
    with pytest.raises(ValueError, match="fewer"):
        fix("r1", first)
    assert fix("r2", first) == (None, [("tiny", "r1", first), ("tiny", "r1", fewer)])  # also before anything was told of them


def test_a_choice_that_fails_fixes_nothing(ledger: Ledger) -> None:
    def refuse(before: Splits | None, earlier: Sequence[RunCases]) -> Splits:
        raise PolicyError("CASES-CHANGED", "they differ.")

    with pytest.raises(PolicyError, match="CASES-CHANGED"):
        ledger.choose_cases(HASH, "r1", refuse)
    assert ledger.fixed_cases(HASH, "r1") is None


def test_the_use_of_each_approval_is_told(ledger: Ledger, clock: list[float]) -> None:
    assert ledger.list_usage() == ()
    answer(ledger, ask("join"))
    clock.append(clock[-1] + 100)
    ledger.fail(ledger.reserve(HASH, ask("train", 1), STUDY), "LOSS-NONFINITE")
    ledger.settle(ledger.reserve(HASH, ask("train", 2), STUDY), reply(1), is_held=True)
    ledger.begin_run(HASH, "tiny", "r2")
    (usage,) = ledger.list_usage()
    assert (usage.study_name, usage.study_hash, usage.runs_allowed, usage.questions_allowed) == ("tiny", HASH, 3, 8)
    first, second = usage.runs
    assert (usage.runs_begun, usage.runs_joined, first.has_begun, second.has_begun) == (1, 1, True, False)
    assert (first.run, first.answered, first.unanswered, first.held, first.last - first.begun) == ("r1", 2, 1, 1, 100)
    assert (second.run, second.answered, second.unanswered, second.last) == ("r2", 0, 0, clock[-1])
