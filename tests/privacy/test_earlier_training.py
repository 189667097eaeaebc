"""Patients apart over studies: a site that would test whom the start was trained on refuses, or moves them into training."""

from __future__ import annotations

from typing import Any

import pytest

from medfl.errors import PolicyError
from medfl.privacy.earlier_training import keep_apart
from medfl.study import Study
from medfl.testing.sites import make_study

SPLITS = {"train": frozenset({"a/1"}), "validation": frozenset({"b/1"}), "test": frozenset({"c/1", "c/2", "d/1"})}


def study(**start: Any) -> Study:
    return make_study(start={"file": "m.pt", "sha256": "1" * 64, "arrays": "2" * 64, "studies": "3" * 64, **start})


def test_others_than_the_test_patients_of_now_change_nothing() -> None:
    assert keep_apart(study(), SPLITS, {"a", "b", "z"}) is SPLITS


def test_by_default_the_site_refuses() -> None:
    with pytest.raises(PolicyError, match="1 patient would be tested") as caught:
        keep_apart(study(), SPLITS, {"c"})
    assert caught.value.code == "START-PATIENTS"


def test_all_cases_of_a_patient_are_moved_into_training() -> None:
    moved = keep_apart(study(patients="move"), SPLITS, {"c"})
    assert moved == {"train": {"a/1", "c/1", "c/2"}, "validation": {"b/1"}, "test": {"d/1"}}


def test_nobody_left_to_test_is_a_refusal() -> None:
    with pytest.raises(PolicyError, match="They are all test patients"):
        keep_apart(study(patients="move"), SPLITS, {"c", "d"})
