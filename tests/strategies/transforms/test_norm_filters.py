"""Norm filters, by hand."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord

from medfl.errors import ConfigError, ExchangeError
from medfl.messages.records import to_array_record
from medfl.strategies.base.reply import Reply
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.transforms.norm_filters import ClipNorm, NormOutlierFilter
from medfl.testing import sites

SENT = {"a": np.array([1, 1], np.float32), "b": np.array(1, np.float16), "steps": np.array(4)}


def clipped(norm: float, **arrays: Any) -> Any:
    return ClipNorm(norm).transform(Reply("aachen", {**SENT, **arrays}, 1.0, start=SENT)).arrays


def test_a_long_update_is_shortened_over_all_tensors_together() -> None:
    # the update is (2, 1) and 2: its norm is 3
    came = {"a": np.array([3, 2], np.float32), "b": np.array(3, np.float16), "steps": np.array(9)}
    arrays = clipped(1.5, **came)
    assert arrays["a"].tolist() == [2.0, 1.5]
    assert arrays["b"] == 2
    assert arrays["steps"] == 9
    assert [x.dtype for x in arrays.values()] == [x.dtype for x in SENT.values()]
    assert clipped(3.0, **came)["a"] is came["a"]


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"a": np.zeros(3, np.float32)}, "MODEL-MISMATCH"),
        ({"c": np.zeros(3, np.float32)}, "MODEL-MISMATCH"),
        ({"a": np.array([1, np.nan], np.float32)}, "UPDATE-NONFINITE"),
    ],
)
def test_what_is_no_model_is_not_measured(arrays: Any, code: str) -> None:
    with pytest.raises(ExchangeError, match=code):
        clipped(1.0, **arrays)


def test_an_update_is_left_out_that_is_much_longer_than_the_median() -> None:
    reasons = NormOutlierFilter(3.0).reject({"a": 1.0, "b": 2.0, "c": 6.0, "d": 1.0, "e": 6.1})
    # 3.05, rounded to even
    assert reasons == {"e": "[UPDATE-NORM] The norm of the update is 3.0 times the median, allowed is 3."}
    assert (
        NormOutlierFilter(3.0)
        .reject({"a": 0.0, "b": 0.0, "c": 1.0})["c"]
        .startswith("[UPDATE-NORM] The norm of the update is inf times")
    )
    assert NormOutlierFilter(1.0).reject(dict.fromkeys("abc", 0.0)) == {}


def test_two_updates_are_not_judged_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flwr"):
        logging.getLogger("flwr").addHandler(caplog.handler)
        assert NormOutlierFilter(3.0).reject({"a": 1.0, "b": 1000.0}) == {}
        logging.getLogger("flwr").removeHandler(caplog.handler)
    assert "The norms of 2 updates are not compared" in caplog.text


def test_a_round_goes_on_without_the_long_one(fake: Any, make: Any, initial: ArrayRecord) -> None:
    names = {21: "aachen", 22: "bergen", 23: "cadiz"}
    grid = fake({21: make.trained(make.model(1), 1), 22: make.trained(make.model(100), 1), 23: make.trained(make.model(2), 1)})
    strategy = FedAvg(transforms=(NormOutlierFilter(4.0),), site_names=names)
    arrays, _ = strategy.aggregate_train(
        1, grid.send_and_receive(strategy.configure_train(1, initial, ConfigRecord(), grid), timeout=1)
    )
    assert arrays is not None
    assert arrays["scale"].numpy() == 1.5
    reasons = {r.site: r.reason for r in strategy.last_round.replies}
    assert reasons == {
        "aachen": "",
        "bergen": "[UPDATE-NORM] The norm of the update is 50.0 times the median, allowed is 4.",
        "cadiz": "",
    }


def test_clipping_works_on_what_a_strategy_gets(fake: Any, make: Any) -> None:
    initial = to_array_record({"w": np.zeros(2, np.float32)})
    grid = fake(
        {21: make.trained({"w": np.array([3, 4], np.float32)}, 1), 22: make.trained({"w": np.array([0, 1], np.float32)}, 1)}
    )
    strategy = FedAvg(transforms=(ClipNorm(1.0),))
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(strategy.configure_train(1, initial, ConfigRecord(), grid)))
    assert arrays is not None
    assert arrays["w"].numpy().tolist() == pytest.approx([0.3, 0.9])


@pytest.mark.parametrize("make_one", [lambda: ClipNorm(0.0), lambda: NormOutlierFilter(0.5), lambda: ClipNorm(float("nan"))])
def test_settings_without_sense_are_refused(make_one: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        make_one()


def test_a_study_may_not_leave_out_usual_updates() -> None:
    with pytest.raises(ConfigError, match="reject-factor"):
        sites.make_study(filtering={"reject-factor": 0.5})
