from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import pytest
from flwr.app import RecordDict

from medfl.errors import DataError, ExchangeError, PolicyError
from medfl.privacy import ledger_rows
from medfl.privacy.kept_answers import answers_folder
from medfl.privacy.ledger import Ledger, ledger_folder
from medfl.privacy.ledger_database import LedgerDatabase
from medfl.privacy.ledger_records import RunCases
from medfl.privacy.patient_sets import Splits
from medfl.privacy.questions import Kind, Question
from medfl.site import Site
from medfl.site.federation_settings import SiteFederation
from tests.privacy.asking import HASH, STUDY, answer, ask, reply


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "budget")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return a list whose last entry is the time."""
    times = [1e9]
    monkeypatch.setattr("medfl.privacy.ledger.time.time", lambda: times[-1])
    return times


def again(ledger: Ledger, question: Question) -> RecordDict | None:
    return ledger.reserve(HASH, question, STUDY).answer


def refusal(ledger: Ledger, question: Question) -> str:
    with pytest.raises(PolicyError) as caught:
        ledger.reserve(HASH, question, STUDY)
    return caught.value.code


def files(ledger_path: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (ledger_path / "answers").rglob("*.answer"))


def test_the_same_question_gets_the_same_answer_in_another_process_too(tmp_path: Path, ledger: Ledger) -> None:
    answer(ledger, ask("train", 1), 0.25)
    for each in (ledger, Ledger(tmp_path / "budget")):
        kept = again(each, ask("train", 1))
        assert kept is not None
        assert str(kept) == str(reply(0.25))
        assert kept.array_records["arrays"]["w"].numpy().tolist() == [0.25] * 3
    assert refusal(ledger, ask("train", 1, "b")) == "QUESTION-ANSWERED"


def test_a_question_is_spent_before_it_is_worked_on(tmp_path: Path, ledger: Ledger) -> None:
    ledger.reserve(HASH, ask("train", 1), STUDY)
    after = Ledger(tmp_path / "budget")
    assert refusal(after, ask("train", 1, "b")) == "QUESTION-ANSWERED"
    answer(after, ask("train", 1))


def test_a_failure_is_spent_for_other_models_alone(ledger: Ledger) -> None:
    ledger.fail(ledger.reserve(HASH, ask("train", 1), STUDY), "LOSS-NONFINITE")
    assert refusal(ledger, ask("train", 1, "b")) == "QUESTION-ANSWERED"
    answer(ledger, ask("train", 1))
    ledger.fail(ledger.reserve(HASH, ask("train", 1), STUDY), "LATE")  # of a slower process
    assert again(ledger, ask("train", 1)) is not None


def test_a_question_that_fails_each_time_is_given_up_until_the_hospital_allows_more(tmp_path: Path, ledger: Ledger) -> None:
    for _ in range(ledger_rows.ATTEMPTS - 1):
        ledger.fail(ledger.reserve(HASH, ask("train", 1), STUDY), "LOSS-NONFINITE")
    ledger.reserve(HASH, ask("train", 1), STUDY)  # and the site is killed
    for each in (ledger, Ledger(tmp_path / "budget")):
        assert refusal(each, ask("train", 1)) == "NOT-ANSWERED"
    assert refusal(ledger, ask("train", 1, "b")) == "QUESTION-ANSWERED"
    assert ledger.allow_attempts("0" * 64) == 0
    assert (ledger.allow_attempts(HASH), ledger.allow_attempts(HASH)) == (1, 0)
    answer(ledger, ask("train", 1))
    for _ in range(ledger_rows.ATTEMPTS + 1):  # of what is kept, it is given as often as it is asked for
        assert again(ledger, ask("train", 1)) is not None


def test_answers_of_earlier_rounds_are_kept_as_hashes(tmp_path: Path, ledger: Ledger) -> None:
    for n in (1, 2):
        answer(ledger, ask("train", n))
    assert files(tmp_path / "budget") == ["train-2"]
    assert refusal(ledger, ask("train", 1)) == "QUESTION-OLD"
    assert again(ledger, ask("train", 2)) is not None


def test_trained_models_go_when_their_arm_is_tested_and_small_answers_stay(tmp_path: Path, ledger: Ledger) -> None:
    for question in (ask("join"), ask("train", 4), ask("validation", 4), ask("test")):
        answer(ledger, question)
    assert files(tmp_path / "budget") == ["join-0", "test-0", "validation-4"]
    assert again(ledger, ask("test")) is not None


def test_a_test_is_kept_when_a_round_that_was_asked_before_it_ends_after_it(ledger: Ledger) -> None:
    slow = ledger.reserve(HASH, ask("train", 1), STUDY)
    answer(ledger, ask("test"), 0.7)
    ledger.settle(slow, reply(0.5))
    assert again(ledger, ask("test")) is not None


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


def test_a_held_answer_waits_for_a_person(tmp_path: Path, ledger: Ledger) -> None:
    reserved = ledger.reserve(HASH, ask("train", 1), STUDY)
    assert ledger.settle(reserved, reply(0.75), is_held=True).answer is None
    repeated = ledger.reserve(HASH, ask("train", 1), STUDY)
    assert (repeated.answer, repeated.is_held) == (None, True)
    assert ledger.released_answer(reserved) is None
    (waiting,) = ledger.held()
    assert (waiting.run, waiting.item, waiting.study_name) == ("r1", ask("train", 1).item, "tiny")
    assert Ledger(tmp_path / "budget").release(numbers=[waiting.number]) == 1
    assert str(ledger.released_answer(reserved)) == str(reply(0.75))
    assert ledger.held() == ()
    assert ledger.release(numbers=[waiting.number]) == 0


def test_what_another_process_answered_first_is_what_leaves(tmp_path: Path, ledger: Ledger) -> None:
    slow = ledger.reserve(HASH, ask("train", 1), STUDY)
    answer(Ledger(tmp_path / "budget"), ask("train", 1), 0.1)
    assert str(ledger.settle(slow, reply(0.2)).answer) == str(reply(0.1))
    assert files(tmp_path / "budget") == ["train-1"]


@pytest.mark.parametrize("is_held", [False, True])
def test_a_failure_that_comes_after_the_answer_takes_nothing_back(ledger: Ledger, *, is_held: bool) -> None:
    slow = ledger.reserve(HASH, ask("train", 1), STUDY)
    ledger.settle(ledger.reserve(HASH, ask("train", 1), STUDY), reply(0.5), is_held=is_held)
    ledger.fail(slow, "SITE-ERROR")
    repeated = ledger.reserve(HASH, ask("train", 1), STUDY)
    assert (repeated.answer is None, repeated.is_held) == (is_held, is_held)


def test_every_change_waits_for_the_disk(tmp_path: Path) -> None:
    with LedgerDatabase(tmp_path / "budget").transaction() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL: a loss of power brings nothing back


def test_an_answer_is_kept_with_the_terms_that_it_was_computed_under(ledger: Ledger) -> None:
    first = ledger.reserve(HASH, ask("train", 1), STUDY, "old")
    second = ledger.reserve(HASH, ask("train", 1), STUDY, "new")
    ledger.settle(first, reply(0.5))
    assert ledger.settle(second, reply(0.7)).terms == "old"  # this process was slower
    assert ledger.reserve(HASH, ask("train", 1), STUDY, "new").terms == "old"
    assert ledger.list_asked(HASH, "r1") == ((ask("train", 1).item, "old"),)


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


def test_reading_makes_nothing(tmp_path: Path, ledger: Ledger) -> None:
    assert (ledger.list_usage(), ledger.held(), ledger.fixed_cases(HASH, "r1")) == ((), (), None)
    assert os.listdir(tmp_path) == []


def test_only_the_owner_may_read_it(tmp_path: Path, ledger: Ledger) -> None:
    answer(ledger, ask("train", 1))
    for path in [tmp_path / "budget", *(tmp_path / "budget").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0


def spoil_file(folder: Path) -> None:
    content = bytearray((folder / "ledger.db").read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    (folder / "ledger.db").write_bytes(content)


def use_foreign_file(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"not a database" * 1000)


def lose_file(folder: Path) -> None:
    (folder / "ledger.db").unlink()


def empty_file(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"")


def write_with_later_version(folder: Path) -> None:
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def spoil_answer(folder: Path) -> None:
    path = next((folder / "answers").rglob("*.answer"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def lengthen_answer(folder: Path) -> None:
    path = next((folder / "answers").rglob("*.answer"))
    path.write_bytes(path.read_bytes() + b"\x00")


DAMAGES = [spoil_file, use_foreign_file, lose_file, empty_file, write_with_later_version, spoil_answer, lengthen_answer]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_answers_nothing(tmp_path: Path, ledger: Ledger, damage: object) -> None:
    answer(ledger, ask("train", 1))
    assert callable(damage)
    damage(tmp_path / "budget")
    with pytest.raises(DataError, match="LEDGER-DAMAGED") as caught:
        Ledger(tmp_path / "budget").reserve(HASH, ask("train", 1), STUDY)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_answers_nothing(tmp_path: Path, ledger: Ledger) -> None:
    answer(ledger, ask("train", 1))
    (tmp_path / "budget").chmod(0o500)
    try:
        with pytest.raises(DataError, match="LEDGER-DAMAGED"):
            ledger.reserve(HASH, ask("train", 2), STUDY)
    finally:
        (tmp_path / "budget").chmod(0o700)


def test_a_full_disk_answers_nothing_and_the_question_can_come_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = ledger.reserve(HASH, ask("train", 1), STUDY)
    with monkeypatch.context() as full:
        full.setattr("medfl.system.files._write_new", _raise_full)
        with pytest.raises(DataError, match=r"LEDGER-DAMAGED.*full"):
            ledger.settle(reserved, reply(1))
    assert again(ledger, ask("train", 1)) is None
    ledger.settle(reserved, reply(1))


def _fill(ledger: Ledger) -> None:
    for k in range(300):
        ledger.allow_runs(f"{k:064d}", "tiny")


@pytest.mark.parametrize("room", [0, 8192, 60000])
def test_a_disk_that_fills_up_under_the_record_answers_nothing_and_spoils_nothing(
    tmp_path: Path, ledger: Ledger, room: int
) -> None:
    answer(ledger, ask("train", 1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(DataError, match="LEDGER-DAMAGED"):
            _fill(ledger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert again(Ledger(tmp_path / "budget"), ask("train", 1)) is not None
    answer(ledger, ask("train", 4))


def test_a_process_that_never_lets_go_is_not_waited_for_for_ever(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(ledger, ask("train", 1))
    monkeypatch.setattr("medfl.privacy.ledger_database._LOCK_TIMEOUT", 0.05)
    other = sqlite3.connect(tmp_path / "budget" / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DataError, match=r"LEDGER-DAMAGED.*too long"):
        ledger.reserve(HASH, ask("train", 2), STUDY)
    other.close()
    answer(ledger, ask("train", 2))


def _raise_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_purged_answer_is_old(tmp_path: Path, ledger: Ledger) -> None:
    answer(ledger, ask("join"))
    answer(ledger, ask("train", 1))
    shutil.rmtree(next(answers_folder(tmp_path / "budget").glob("*/*/models")))
    assert again(ledger, ask("join")) is not None
    assert refusal(ledger, ask("train", 1)) == "QUESTION-OLD"
    answer(ledger, ask("train", 2))


def test_models_of_runs_that_ended_long_ago_and_left_overs_go_when_a_run_begins(
    tmp_path: Path, ledger: Ledger, clock: list[float]
) -> None:
    answer(ledger, ask("join"))
    answer(ledger, ask("train", 1))
    left = next((tmp_path / "budget" / "answers").rglob("train*.answer")).with_name("train-1-0.answer")
    left.write_bytes(b"killed")
    os.utime(left, (0, 0))
    clock.append(clock[-1] + 91 * 86400)
    ledger.begin_run(HASH, "tiny", "r2")
    assert files(tmp_path / "budget") == ["join-0"]
    assert refusal(ledger, ask("train", 1)) == "QUESTION-OLD"


def _ask_all(folder: Path, model: str) -> None:
    mine = Ledger(folder)
    for n in range(1, 5):
        try:
            reserved = mine.reserve(HASH, ask("train", n, model), STUDY)
        except PolicyError:
            continue
        if reserved.answer is None:
            mine.settle(reserved, reply(n))


def test_processes_that_ask_at_once_share_one_budget(tmp_path: Path, ledger: Ledger) -> None:
    ledger.begin_run(HASH, "tiny", "r1")
    context = get_context("spawn")
    workers = [context.Process(target=_ask_all, args=(tmp_path / "budget", model)) for model in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert ledger.list_usage()[0].runs[0].answered == 4


def test_the_folder_is_beside_the_site_file(tmp_path: Path) -> None:
    alone = Site(name="north", folder=tmp_path)
    joined = Site(name="north", folder=tmp_path, federation=SiteFederation(server="h:1", budget="record"))
    assert (ledger_folder(alone), ledger_folder(joined)) == (tmp_path / "budget", tmp_path / "record")
