"""A server asks no hospital more than the approved study says, whatever it does: no question of an honest run is refused."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.errors import QuorumError, safe_sentence
from medfl.privacy.questions import list_allowances
from medfl.runs import checkpoint_files
from medfl.study.algorithms import ALGORITHMS, MEAN_ALGORITHMS
from tests.server.counted_sites import Federation, Killed, killed_before

BOTH = "federated,local"
RESUMED: dict[str, dict[str, Any]] = {
    "fedavg": {"arms": BOTH, "strategy__patience": 1, "rounds": 4},
    "feddyn": {"strategy__name": "feddyn", "optimizer__name": "sgd"},
    "fedadam, half of the sites": {"strategy__name": "fedadam", "strategy__fraction": 0.7, "evaluation__every": 2},
    "shapley": {"contribution__method": "shapley", "contribution__every": 2},
    "leave one out": {"contribution__method": "leave-one-out"},
    "personal": {"personal__layers": "norm", "personal__fine_tune_steps": 1},
    "cyclic": {"strategy__name": "cyclic", "evaluation__every": 2},
    "fedbuff": {"strategy__name": "fedbuff", "strategy__patience": 1, "rounds": 4},
}

MAY_BE_REFUSED = {"cyclic": {"QUESTION-ANSWERED"}}  # each trains the model of the one before it


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def federation(tmp_path: Path) -> Callable[..., Federation]:
    numbers = itertools.count()
    return lambda **changes: Federation(tmp_path / str(next(numbers)), **changes)


def with_strategy(name: str) -> dict[str, Any]:
    """Return the keys of a study of this strategy that three hospitals can run."""
    options = {"krum": {"malicious": 0}, "multikrum": {"malicious": 0}, "fedtrimmedavg": {"beta": 0.4}}.get(name, {})
    optimizer = {"optimizer__name": ALGORITHMS[name].optimizers[0]} if ALGORITHMS[name].optimizers else {}
    return {"strategy__name": name, **{f"strategy__options__{key}": value for key, value in options.items()}, **optimizer}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_strategy_asks_what_its_study_says_and_no_more(name: str, federation: Callable[..., Federation]) -> None:
    method = "leave-one-out" if name in MEAN_ALGORITHMS else "none"
    run = federation(arms=BOTH, strategy__max_sites=3, contribution__method=method, **with_strategy(name))
    run.conduct()
    assert run.refused() == []
    asked = Counter((item.arm, item.kind) for item in run.asked())
    told = {(each.arm, each.kind): each.questions for each in list_allowances(run.study) if each.kind != "fingerprint"}
    assert asked == told


@pytest.mark.parametrize("name", ["fedavg", "cyclic", "fedbuff"])
@pytest.mark.parametrize(("every", "patience"), [(2, 0), (2, 1), (3, 2), (9, 0)])
def test_what_is_scored_now_and_then_or_ends_early_is_asked_within_what_the_study_says(
    name: str, every: int, patience: int, federation: Callable[..., Federation]
) -> None:
    run = federation(strategy__name=name, evaluation__every=every, strategy__patience=patience, rounds=5, arms=BOTH)
    run.conduct(slow={3: 5})
    assert run.refused() == []


def kill_and_resume(
    federation: Callable[..., Federation], kind: str, away: tuple[int, ...], every: int = 1
) -> Iterator[tuple[Federation, Federation, str]]:
    """Kill a server before each of its steps, and resume its run with all hospitals; yield the run and one that was whole."""
    whole = federation(**RESUMED[kind])
    whole.conduct()
    with killed_before(-1) as steps:  # of a run without those who are away, which may end earlier
        federation(**RESUMED[kind]).conduct(away=away)
    for step in range(1, len(steps), every):
        run = federation(**RESUMED[kind])
        with killed_before(step), pytest.raises(Killed):
            run.conduct(away=away)
        with suppress(QuorumError) if kind == "cyclic" and away else nullcontext():  # which may not be resumable then
            run.conduct(resume=True)
        yield run, whole, f"killed before step {step} of {len(steps)}: {steps[step]}"


def model_of(run: Federation) -> dict[str, bytes]:
    (folder,) = (Path(str(run.config["server.out"])) / "liver").iterdir()
    return {name: np.asarray(x).tobytes() for name, x in checkpoint_files.load(folder, "best").arrays.items()}


@pytest.mark.parametrize(
    ("kind", "every"),
    [("fedavg", 4), ("cyclic", 3), *(pytest.param(kind, 1, marks=pytest.mark.slow, id=f"{kind}, all") for kind in RESUMED)],
)
def test_a_run_that_was_killed_anywhere_goes_on_within_its_questions_to_the_same_bits(
    kind: str, every: int, federation: Callable[..., Federation]
) -> None:
    for run, whole, where in kill_and_resume(federation, kind, (), every):
        assert run.refused() == [], where
        assert kind == "fedbuff" or model_of(run) == model_of(whole), where  # which replies make up its rounds is open


@pytest.mark.parametrize(
    ("kind", "every"),
    [("feddyn", 4), ("shapley", 7), *(pytest.param(kind, 1, marks=pytest.mark.slow, id=f"{kind}, all") for kind in RESUMED)],
)
def test_a_hospital_that_was_away_when_a_run_broke_off_takes_part_when_it_goes_on(
    kind: str, every: int, federation: Callable[..., Federation]
) -> None:
    for run, _, where in kill_and_resume(federation, kind, (4,), every):
        assert {code for _, _, code in run.refused()} <= MAY_BE_REFUSED.get(kind, set()), where
        assert "join" in {item.kind for item in run.asked(4)}, where
        assert all(item.kind in ("train", "contribution") for _, item, _ in run.refused()), where


def test_a_circle_that_a_hospital_broke_goes_on_from_there(federation: Callable[..., Federation]) -> None:
    run = federation(strategy__name="cyclic", strategy__options__order="name", strategy__quorum=3)
    run.sites[3].fails = True
    with pytest.raises(QuorumError, match=r"1 of 3 replies .*bergen: failed, \[NOT-ANSWERED\] The site could not answer"):
        run.conduct()
    assert {item.kind for item in run.asked(4)} == {"join"}  # it has its model of this round still to come
    run.sites[3].fails = False
    run.conduct(resume=True)
    assert run.refused() == []


def test_a_hospital_scores_no_more_models_for_contributions_than_approved(federation: Callable[..., Federation]) -> None:
    run = federation(contribution__method="leave-one-out", strategy__max_sites=3)
    with killed_before("round"), pytest.raises(Killed):
        run.conduct(away=(4,))
    run.conduct(resume=True)
    refused = {(site, item.kind, item.round, code) for site, item, code in run.refused()}
    assert refused == {(site, "contribution", 1, "QUESTION-ANSWERED") for site in ("aachen", "bergen")}
    told = {(e["site"], e["reason"]) for e in run.events() if e["event"] == "failed"}
    assert told == {(site, safe_sentence("QUESTION-ANSWERED")) for site in ("aachen", "bergen")}
    assert run.events()[-1]["status"] == "completed"


def test_a_run_that_could_not_begin_is_resumed_when_the_missing_hospital_is_there(
    federation: Callable[..., Federation],
) -> None:
    run = federation(strategy__quorum=3)
    for resume in (False, True, True, True):
        with pytest.raises(QuorumError, match=r"TOO-FEW-SITES.*'medfl resume' goes on with this run then"):
            run.conduct(away=(3,), resume=resume)
    assert [usage.runs_joined for usage in run.usage()] == [1, 1]  # of the hospitals that were there
    run.conduct(resume=True)
    assert run.refused() == []
    assert run.events()[-1]["status"] == "completed"
    assert [(usage.runs_begun, usage.runs_joined) for usage in run.usage()] == [(1, 0)] * 3
