"""Data of a simulation as a whole: a study that would train on something else than it says does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.errors import DataError, RunError
from medfl.runs.history import Event
from medfl.server.simulated_data import check_simulated_data
from medfl.study import Simulation, StudyApp
from medfl.testing.sites import make_study
from tests.server.direct_grid import conduct

APP = StudyApp(make_study("classification"))
ROUND: Event = {"event": "round", "round": 1, "bytes-up": 5}


def joined(site: str, classes: list[str], cases: int = 10, left_out: int = 0, data: str = "a") -> Event:
    return {
        "event": "joined",
        "site": site,
        "cases": {"train": cases, "validation": 0, "test": 0},
        "excluded": {"LBL-CLASS": left_out} if left_out else {},
        "simulated": {"left-out": left_out, "classes": classes, "data": data},
    }


def test_a_class_must_have_a_case_at_some_hospital() -> None:
    check_simulated_data(APP, [], [joined("north", ["no"]), joined("south", ["yes"])])
    with pytest.raises(DataError, match=r"\[CLASS-WITHOUT-CASE\] .* case of 'yes' \(left out: 1 case by LBL-CLASS: "):
        check_simulated_data(APP, [], [joined("north", ["no"], left_out=1), joined("south", ["no"])])


def test_the_background_of_masks_need_not_be_there() -> None:
    check_simulated_data(StudyApp(make_study("segmentation")), [], [joined("north", ["organ"])])


def test_no_more_cases_may_be_left_out_than_the_simulation_allows() -> None:
    check_simulated_data(APP, [], [joined("north", ["no", "yes"], cases=8, left_out=2), joined("south", [], cases=10)])
    events = [joined("north", ["no", "yes"], cases=7, left_out=2), joined("south", [], cases=10)]
    with pytest.raises(DataError, match=r"\[CASES-LEFT-OUT\] 2 of 19 cases had to be left out \(11%\).* 10% .*LBL-CLASS"):
        check_simulated_data(APP, [], events)
    check_simulated_data(StudyApp(APP.study, Simulation(max_excluded=0.2)), [], events)


def test_the_reasons_that_are_told_add_up_to_all_that_was_left_out() -> None:
    event = joined("north", ["no", "yes"], cases=2, left_out=7)
    event["excluded"] = {"LBL-CLASS": 3, "IMG-NAN": 2, "IMG-MISSING": 1, "NII-TRUNCATED": 1}
    with pytest.raises(DataError, match=r"3 cases by LBL-CLASS.*2 cases by IMG-NAN.*1 case by .*1 case for other reasons\)"):
        check_simulated_data(APP, [], [event])


def test_a_resumed_run_needs_the_data_that_it_began_with() -> None:
    before, now = joined("north", ["no", "yes"], data="a"), joined("north", ["no", "yes"], data="b")
    check_simulated_data(APP, [before], [before, now])  # no round was done with it
    check_simulated_data(APP, [before, ROUND], [before, ROUND, before])
    with pytest.raises(RunError, match=r"\[RUN-OTHER-DATA\] the images or labels of north"):
        check_simulated_data(APP, [before, ROUND], [before, ROUND, now])


def test_a_hospital_tells_the_server_nothing_of_this() -> None:
    check_simulated_data(APP, [], [{"event": "joined", "site": "north", "cases": {}, "excluded": {}}])


def test_a_label_typo_does_not_train_on_one_class(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    from medfl.study import read_run_config

    for index in nodule_hospitals.glob("*/data/index.csv"):
        index.write_text(index.read_text().replace("nodule", "nodul"))
    places = {"simulation.data": str(nodule_hospitals), "server.out": str(tmp_path), "server.run": "run"}
    with pytest.raises(DataError, match=r"\[CLASS-WITHOUT-CASE\] no hospital has a usable case of 'nodule'.*LBL-CLASS"):
        conduct(read_run_config(nodule_study) | places)
