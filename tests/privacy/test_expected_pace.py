"""How fast a study may move its model, as far as it tells."""

from __future__ import annotations

from typing import Any

import pytest

from medfl.privacy.expected_pace import expect_pace
from medfl.testing.sites import make_study

STEPS = {"training": {"local-steps": 20}}
SGD = {"optimizer": {"name": "sgd", "learning-rate": 0.01, "momentum": 0.9}}


@pytest.mark.parametrize(
    ("strategy", "factor"),
    [
        ({"name": "fedavg"}, 1.0),
        ({"name": "fedavgm", "options": {"momentum": 0.5, "server-learning-rate": 2.0}}, 4.0),
        ({"name": "fedadam", "options": {"server-learning-rate": 0.5}}, 1.0),
        ({"name": "cyclic", "sites": 30}, 30.0),
        ({"name": "feddyn"}, 8.0),
    ],
)
def test_a_server_that_goes_further_than_the_mean_may(strategy: dict[str, Any], factor: float) -> None:
    study = make_study(strategy=strategy, **STEPS)
    assert expect_pace(study, "federated", 20).factor == pytest.approx(factor)
    assert expect_pace(study, "local", 20).factor == 1.0


def test_the_correction_of_feddyn_grows_with_the_rounds() -> None:
    study = make_study(strategy={"name": "feddyn"}, rounds=100, **STEPS)
    assert [expect_pace(study, "federated", 20, rounds).factor for rounds in (1, 8, 60)] == [8.0, 8.0, 60.0]


def test_the_path_of_a_round_follows_the_schedule() -> None:
    study = make_study(**SGD, **STEPS)
    assert expect_pace(study, "federated", 20, rate=0.1).path_length == pytest.approx(0.1 * 0.01 * 20 / (1 - 0.9))


def test_an_adaptive_server_adds_a_step_of_its_own() -> None:
    study = make_study(strategy={"name": "fedyogi", "options": {"server-learning-rate": 0.5}}, **STEPS)
    assert expect_pace(study, "federated").server_step == pytest.approx(1.25)
    assert expect_pace(make_study(**STEPS), "federated").server_step == 0.0


def test_a_large_hospital_may_go_further_where_a_study_counts_in_epochs() -> None:
    study = make_study(training={"local-epochs": 2})
    assert expect_pace(study, "federated", 4).factor == pytest.approx(10.0)
    assert expect_pace(study, "federated", 1000).factor == 1.0


def test_before_its_first_round_a_hospital_expects_what_the_learning_rate_allows() -> None:
    assert expect_pace(make_study(**SGD, **STEPS), "federated").blind_step == pytest.approx(0.01 * 20 / (1 - 0.9))
    assert expect_pace(make_study(optimizer={"learning-rate": 0.01}, **STEPS), "federated").blind_step == pytest.approx(0.2)
