from __future__ import annotations

import pytest
import torch
from torch import nn

from medfl.clients.training.fine_tuning import fine_tuning_study
from medfl.clients.training.optimizers import build_optimizer, set_factor
from medfl.clients.training.schedules import lr_factor, study_progress
from medfl.study.sections import Optimizer, Schedule
from medfl.testing.sites import make_study


def test_progress_goes_on_across_rounds() -> None:
    one = [study_progress(1, s, 2, rounds=2) for s in range(2)]
    two = [study_progress(2, s, 2, rounds=2) for s in range(2)]
    assert one + two == pytest.approx([0.125, 0.375, 0.625, 0.875])


@pytest.mark.parametrize(
    ("name", "expected"), [("constant", [1, 1, 1]), ("polynomial", [1, 0.5**0.9, 0]), ("cosine", [1, 0.5, 0])]
)
def test_factor_at_start_middle_and_end(name, expected: list[float]) -> None:
    assert [lr_factor(Schedule(name=name), p, 10) for p in (0.0, 0.5, 1.0)] == pytest.approx(expected)


def test_warm_up_rises_linearly_and_then_the_schedule_begins() -> None:
    schedule = Schedule(name="cosine", warmup_rounds=2)
    assert lr_factor(schedule, 0.1, rounds=10) == pytest.approx(0.5)
    assert lr_factor(schedule, 0.2, rounds=10) == pytest.approx(1.0)
    assert lr_factor(schedule, 0.6, rounds=10) == pytest.approx(0.5)


def test_warm_up_longer_than_the_study_never_divides_by_zero() -> None:
    assert lr_factor(Schedule(name="cosine", warmup_rounds=5), 1.0, rounds=2) == 1.0


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_optimizer_of_the_study_goes_downhill(name, kind: type) -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    settings = Optimizer(name=name, learning_rate=0.1)
    optimizer = build_optimizer(settings, [weight])
    assert type(optimizer) is kind
    (weight**2).sum().backward()
    optimizer.step()
    assert 0.0 < weight.item() < 1.0


def test_sgd_step_is_learning_rate_times_gradient() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    settings = Optimizer(name="sgd", learning_rate=0.1, momentum=0.0)
    optimizer = build_optimizer(settings, [weight])
    set_factor(optimizer, settings, 0.5)
    (3 * weight).sum().backward()
    optimizer.step()
    assert weight.item() == pytest.approx(1.0 - 0.05 * 3)


def test_fine_tuning_goes_through_the_schedule_once_without_a_warm_up() -> None:
    study = fine_tuning_study(make_study(rounds=8, schedule={"name": "polynomial", "power": 1.0, "warmup-rounds": 4}), rounds=2)
    progress = [study_progress(number, 0, 1, study.rounds) for number in (1, 2)]
    assert [lr_factor(study.schedule, p, study.rounds) for p in progress] == pytest.approx([0.75, 0.25])
