"""Data of a simulation as a whole: a study that would train on something else than it says does not start."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import RecordDict

from medfl.errors import DataError, ExchangeError, RunError
from medfl.messages import records
from medfl.messages.records import Metrics
from medfl.runs.history import Event
from medfl.server.simulated_data import check_same_hospitals, check_simulated_data
from medfl.server.site_joiner import _parse_join_reply
from medfl.study import Server, Simulation, StudyApp
from medfl.testing.sites import make_study
from tests.server.direct_grid import conduct

SIMULATED = Simulation(data=("/data",))
APP = StudyApp(make_study("classification"), SIMULATED)
FEDERATION = StudyApp(APP.study, SIMULATED, Server(enrolled=("north", "south")))
ROUND: Event = {"event": "round", "round": 1, "bytes-up": 5}
RESUME: Event = {"event": "resume"}


def joined(site: str, classes: list[str], cases: int = 10, left_out: int = 0, data: str = "a") -> Event:
    return {
        "event": "joined",
        "site": site,
        "cases": {"train": -5, "validation": 0, "test": 0},  # fewer than 5: the policy of a site may hide small counts
        "excluded": {"LBL-CLASS": left_out} if left_out else {},
        "simulated": {"left-out": left_out, "usable": cases, "classes": classes, "data": data},
    }


def test_a_class_must_have_a_case_at_some_hospital() -> None:
    check_simulated_data(APP, [], [joined("north", ["no"]), joined("south", ["yes"])])
    with pytest.raises(DataError, match=r"\[CLASS-WITHOUT-CASE\] .* case of 'yes' \(left out: 1 case by LBL-CLASS: "):
        check_simulated_data(APP, [], [joined("north", ["no"], left_out=1), joined("south", ["no"])])


def test_the_background_of_masks_need_not_be_there() -> None:
    check_simulated_data(StudyApp(make_study("segmentation"), SIMULATED), [], [joined("north", ["organ"])])


def test_no_more_cases_may_be_left_out_than_the_simulation_allows() -> None:
    check_simulated_data(APP, [], [joined("north", ["no", "yes"], cases=8, left_out=2), joined("south", [], cases=10)])
    events = [joined("north", ["no", "yes"], cases=7, left_out=2), joined("south", [], cases=10)]
    with pytest.raises(DataError, match=r"CASES-LEFT-OUT\] 2 of 19 cases had to be left out, .* = 0\.1 allows 1 .*LBL-CLASS"):
        check_simulated_data(APP, [], events)
    check_simulated_data(StudyApp(APP.study, Simulation(data=("/data",), max_excluded=0.2)), [], events)


def test_the_reasons_that_are_told_add_up_to_all_that_was_left_out() -> None:
    event = joined("north", ["no", "yes"], cases=2, left_out=7)
    event["excluded"] = {"LBL-CLASS": 3, "IMG-NAN": 2, "IMG-MISSING": 1, "NII-TRUNCATED": 1}
    with pytest.raises(DataError, match=r"3 cases by LBL-CLASS.*2 cases by IMG-NAN.*1 case by .*1 case for other reasons\)"):
        check_simulated_data(APP, [], [event])


def test_only_the_sites_that_joined_this_time_are_counted() -> None:
    earlier = joined("south", ["no", "yes"], left_out=3)
    with pytest.raises(DataError, match=r"case of 'yes' \(left out: 1 case by LBL-CLASS: [^;]*\)\."):
        check_simulated_data(APP, [earlier], [earlier, RESUME, joined("north", ["no"], left_out=1)])


def test_a_resumed_run_needs_the_data_that_it_began_with() -> None:
    before, now = joined("north", ["no", "yes"], data="a"), joined("north", ["no", "yes"], data="b")
    check_simulated_data(APP, [before], [before, now])  # no round was done with it
    check_simulated_data(APP, [before, ROUND], [before, ROUND, before])
    with pytest.raises(RunError, match=r"\[RUN-OTHER-DATA\] the images or labels of north"):
        check_simulated_data(APP, [before, ROUND], [before, ROUND, now])


def test_data_that_was_put_back_is_taken_after_any_number_of_refused_attempts() -> None:
    before, other = joined("north", ["no", "yes"], data="a"), joined("north", ["no", "yes"], data="b")
    past = [before, ROUND]
    for _ in range(2):
        with pytest.raises(RunError, match="RUN-OTHER-DATA"):
            check_simulated_data(APP, past, [*past, RESUME, other])
        past = [*past, RESUME, other, {"event": "end", "status": "failed"}]
    check_simulated_data(APP, past, [*past, RESUME, before])


def test_what_a_site_brought_to_a_refused_attempt_never_counts_as_trained_on() -> None:
    first, other = joined("north", ["no", "yes"], data="a"), joined("north", ["no", "yes"], data="b")
    south = joined("south", ["no", "yes"], data="s")
    past = [first, south, ROUND, RESUME, other, south, RESUME, south, ROUND]  # the quorum lets south go on alone
    check_simulated_data(APP, past, [*past, RESUME, first, south])
    with pytest.raises(RunError, match=r"\[RUN-OTHER-DATA\] the images or labels of north"):
        check_simulated_data(APP, past, [*past, RESUME, other, south])


def test_the_hospitals_in_the_data_stay_those_that_were_trained_with() -> None:
    start: Event = {"event": "start", "hospitals": ["north", "south"]}
    check_same_hospitals(["north"], [start])  # nothing was trained
    past = [start, {**RESUME, "hospitals": ["east", "north"]}, ROUND, {**RESUME, "hospitals": ["west"]}]
    check_same_hospitals(["north", "east"], past)
    with pytest.raises(RunError, match=r"\[RUN-OTHER-DATA\] .* \(missing: east; new: south and west\)"):
        check_same_hospitals(["north", "south", "west"], past)


def test_a_real_site_cannot_end_the_run_with_what_only_a_simulated_one_tells() -> None:
    events = [joined("north", [], cases=1, left_out=10**6), {"event": "joined", "site": "south", "cases": {}, "excluded": {}}]
    check_simulated_data(FEDERATION, [], events)
    reply = join_reply(**{records.DATA_DIGEST: "free text " * 6000, records.LEFT_OUT: "-1", records.PRESENT: "9"})
    assert "simulated" not in _parse_join_reply(reply, "layout", FEDERATION)[1]


@pytest.mark.parametrize(
    "told",
    [
        {records.DATA_DIGEST: "a" * 63 + "G"},
        {records.LEFT_OUT: "-1"},
        {records.PRESENT: "9"},
        {records.LEFT_OUT: "x"},
        {records.USABLE: "-5"},
    ],
)
def test_a_simulated_site_that_reports_nonsense_cannot_join(told: dict[str, str]) -> None:
    right = {records.DATA_DIGEST: "a" * 64, records.LEFT_OUT: "0", records.USABLE: "7", records.PRESENT: "0,1"}
    assert _parse_join_reply(join_reply(**right), "layout", APP)[1]["simulated"]["classes"] == ["no", "yes"]  # type: ignore[index]
    with pytest.raises(ExchangeError, match="JOIN-UNREADABLE"):
        _parse_join_reply(join_reply(**(right | told)), "layout", APP)


def join_reply(**info: str) -> RecordDict:
    """Return a reply to joining, with further words on the site."""
    numbers: Metrics = {
        f"join.{split}-{what}": 5 for split in ("train", "validation", "test") for what in ("patients", "cases")
    }
    words = {records.EXCLUDED: "", "warnings": "", "patient-ids": "yes", records.MODEL_HASH: "layout"}
    return records.build_reply_content("north", numbers, None, words | info)


def test_a_label_typo_does_not_train_on_one_class(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    from medfl.study import read_run_config

    for index in nodule_hospitals.glob("*/data/index.csv"):
        index.write_text(index.read_text().replace("nodule", "nodul"))
    places = {"simulation.data": str(nodule_hospitals), "server.out": str(tmp_path), "server.run": "run"}
    with pytest.raises(DataError, match=r"\[CLASS-WITHOUT-CASE\] no hospital has a usable case of 'nodule'.*LBL-CLASS"):
        conduct(read_run_config(nodule_study) | places)
