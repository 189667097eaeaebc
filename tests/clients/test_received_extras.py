"""What may come with a model: the records of the study's algorithm, as it makes them, and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from medfl.clients.received_extras import check_configuration, check_extras
from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.privacy.questions import Item
from medfl.strategies import FedDyn, Scaffold
from medfl.testing.sites import make_study

Extras = dict[str, dict[str, Any]]

MODEL = {"weight": np.zeros((2, 3), np.float32), "running_mean": np.zeros(2, np.float32), "batches": np.array(0)}
PARAMETERS = {"weight", "staying"}  # one of them stays at the site
TRAIN, LOCAL, SCORE = Item("federated", "train", 2), Item("local", "train", 2), Item("federated", "validation", 2)


def sent_by(strategy: Any, model: Mapping[str, Any] = MODEL) -> Extras:
    """Return the records that a server sends with a model in its first round of training."""
    strategy.begin_round(records.to_array_record(model))
    strategy._is_training = True
    (content,) = strategy.message_contents({1: "aachen"}, records.to_array_record(model), ConfigRecord()).values()
    return {name: records.array_views(content[name]) for name in content if name not in (records.ARRAYS, records.CONFIG)}


def code(strategy: str, extras: Extras, item: Item = TRAIN, model: Mapping[str, Any] = MODEL) -> str:
    study = make_study(strategy={"name": strategy}, optimizer={"name": "sgd"}, arms=("federated", "local"))
    try:
        check_extras(extras, dict(model), PARAMETERS, item, study)
    except ExchangeError as error:
        return error.code
    return ""


@pytest.fixture
def honest() -> dict[str, Extras]:
    return {"scaffold": sent_by(Scaffold()), "feddyn": sent_by(FedDyn())}


@pytest.mark.parametrize("strategy", ["scaffold", "feddyn"])
def test_what_a_server_sends_passes_in_training_of_all_alone(strategy: str, honest: dict[str, Extras]) -> None:
    assert honest[strategy]
    assert code(strategy, honest[strategy]) == ""
    assert code(strategy, {}) == "RECORD-MISSING"
    for item in (LOCAL, SCORE):
        assert code(strategy, {}, item) == ""
        assert code(strategy, honest[strategy], item) == "RECORD-UNKNOWN"


def test_a_control_variate_may_be_wider_than_a_narrow_model() -> None:
    narrow = {name: x.astype(np.float16) if x.dtype.kind == "f" else x for name, x in MODEL.items()}
    assert code("scaffold", sent_by(Scaffold(), narrow), model=narrow) == ""


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "moon", "feddyn"])
def test_a_record_that_the_algorithm_does_not_send_is_refused(strategy: str, honest: dict[str, Extras]) -> None:
    control = {records.CONTROL: honest["scaffold"][records.CONTROL]}
    assert code(strategy, honest.get(strategy, {}) | control) == "RECORD-UNKNOWN"


def _further(control: dict[str, Any]) -> None:
    control["further"] = np.zeros(1, np.float32)


def _reshape(control: dict[str, Any]) -> None:
    control["weight"] = np.zeros((3, 2), np.float32)


def _widen(control: dict[str, Any]) -> None:
    control["weight"] = control["weight"].astype(np.float64)


def _drop(control: dict[str, Any]) -> None:
    del control["weight"]


def _count(control: dict[str, Any]) -> None:
    control["batches"] = np.array(0)


@pytest.mark.parametrize("change", [_further, _reshape, _widen, _drop, _count])
def test_a_control_variate_of_another_layout_is_refused(
    change: Callable[[dict[str, Any]], None], honest: dict[str, Extras]
) -> None:
    extras = honest["scaffold"]
    change(extras[records.CONTROL])
    assert code("scaffold", extras) == "CONTROL-MISMATCH"


@pytest.mark.parametrize(
    "counted",
    [{}, {"other": np.array(1)}, {"server-round": np.zeros(1000, np.int64)}, {"server-round": np.array(1.0)}],
)
@pytest.mark.parametrize("strategy", ["scaffold", "feddyn"])
def test_the_last_counted_round_is_one_whole_number(strategy: str, counted: dict[str, Any], honest: dict[str, Extras]) -> None:
    assert code(strategy, honest[strategy] | {records.COUNTED: counted}) == "RECORD-UNKNOWN"
    further = honest[strategy][records.COUNTED] | {"further": np.zeros(10**6)}
    assert code(strategy, honest[strategy] | {records.COUNTED: further}) == "RECORD-UNKNOWN"


def test_an_algorithm_of_another_package_may_send_what_is_no_larger_than_the_model() -> None:
    as_large = {name: np.array(tensor) for name, tensor in MODEL.items()}
    assert code("theirs.own", {"momentum": as_large, "number": {"n": np.array(3)}}) == ""
    assert code("theirs.own", {"large": {"n": np.zeros(1000)}}) == "RECORD-UNKNOWN"
    assert code("theirs.own", {str(number): as_large for number in range(9)}) == "RECORD-UNKNOWN"


@pytest.mark.parametrize(
    "content",
    [
        {records.CONFIG: ConfigRecord({"arm": "a" * 10**5})},
        {records.CONFIG: ConfigRecord({str(number): number for number in range(10_000)})},
        {records.CONFIG: ConfigRecord(), "further": ConfigRecord()},
        {records.CONFIG: ConfigRecord(), records.METRICS: MetricRecord({"a": 1})},
    ],
)
def test_a_configuration_is_small_and_alone(content: dict[str, Any]) -> None:
    with pytest.raises(ExchangeError, match="RECORD-UNKNOWN"):
        check_configuration(RecordDict(content))
    check_configuration(RecordDict({records.CONFIG: ConfigRecord({"arm": "federated"})}))
