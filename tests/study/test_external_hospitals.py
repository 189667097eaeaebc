"""External hospitals of a study: names that the data has, enough hospitals left to train, and a hash that only they change."""

from __future__ import annotations

from typing import Any

import pytest

from medfl.errors import ConfigError
from medfl.study import Simulation, Study, StudyApp
from medfl.study.external_hospitals import check_external
from medfl.testing.sites import make_study

NAMES = ("a", "b", "c", "12")


def study_of(external: str | int, **strategy: Any) -> Study:
    return make_study(evaluation={"external": external}, strategy=strategy)


@pytest.mark.parametrize("external", ["a", "a,c", 12, ""])
def test_hospitals_of_the_data_are_accepted(external: str | int) -> None:
    check_external(study_of(external, quorum=2), NAMES)


@pytest.mark.parametrize(
    ("external", "strategy", "reason"),
    [
        ("x,b", {}, "no hospital 'x' in the data.*12, a, b and c"),
        ("a,b,c,12", {}, "none is left to train"),
        ("a,b", {"quorum": 3}, "2 hospitals are left to train, and the study asks for 3"),
        ("a,b,c", {"sites": 2}, "1 hospital is left to train, and the study asks for 2"),
    ],
)
def test_what_cannot_be_trained_is_refused(external: str, strategy: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"evaluation\.external.*{reason}"):
        check_external(study_of(external, **strategy), NAMES)


def test_an_external_hospital_counts_for_no_quorum() -> None:
    app = StudyApp(study_of("a"), Simulation(data=("/data",)), simulated_sites=NAMES)
    assert app.quorum == 3


def test_a_real_federation_refuses_external_hospitals() -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.external.*for a simulation"):
        study_of("a").check_real()


def test_a_study_without_external_hospitals_keeps_its_hash() -> None:
    assert study_of("").approved_hash() == make_study().approved_hash() != study_of("a").approved_hash()
