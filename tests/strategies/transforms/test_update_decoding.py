"""Codecs at the server: what a reply may get wrong, and what crosses the wire."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message

from medfl.messages.records import from_array_record, to_array_record
from medfl.strategies.cyclic import Cyclic
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.strategy_registry import build_transforms
from medfl.strategies.transforms.norm_filters import ClipNorm
from medfl.strategies.transforms.update_decoding import Bf16, Int8, TopK
from medfl.testing import sites
from medfl.testing.strategy_contract import ANY_NUMBER
from tests.strategies.packing import packed

SENT = {"w": np.zeros((2, 3), np.float32), "b": np.zeros((), np.float32), "steps": np.array(4)}
TRAINED = {"w": np.array([[1, 2, 3], [4, 5, 6]], np.float32), "b": np.array(-7, np.float32), "steps": np.array(9)}
CODECS = {"bf16": Bf16(), "int8": Int8(), "top-k": TopK(0.5)}


def good(codec: str) -> Any:
    return packed(codec, TRAINED, SENT, keep=0.5)


def one_round(codec: str, answers: dict[int, Any], fake: Any) -> tuple[FedAvg, ArrayRecord]:
    strategy = FedAvg(transforms=(CODECS[codec],), site_names={21: "aachen", 22: "bergen"}, **ANY_NUMBER)
    messages = strategy.configure_train(1, to_array_record(SENT), ConfigRecord(), fake(answers))
    arrays, _ = strategy.aggregate_train(1, fake(answers).send_and_receive(messages))
    assert arrays is not None
    return strategy, arrays


@pytest.mark.parametrize("codec", CODECS)
def test_the_model_comes_back(codec: str, fake: Any, make: Any) -> None:
    _, arrays = one_round(codec, {21: make.trained(good(codec), 2)}, fake)
    expected = {"bf16": 0, "int8": 7 / 127, "top-k": 3}[codec]  # top-k: half of seven, rounded up, so 3 was left out
    assert np.abs(arrays["w"].numpy() - TRAINED["w"]).max() <= expected
    assert arrays["steps"].numpy() == 9
    if codec == "top-k":
        assert arrays["w"].numpy().tolist() == [[0, 0, 0], [4, 5, 6]]


@pytest.mark.parametrize("codec", CODECS)
def test_a_round_records_the_bytes_of_the_wire(codec: str, fake: Any, make: Any) -> None:
    sent = {"w": np.zeros(100_000, np.float32)}
    small = packed(codec, {"w": np.ones(100_000, np.float32)}, sent, keep=0.01)
    transform = TopK(0.01) if codec == "top-k" else CODECS[codec]
    strategy = FedAvg(transforms=(transform,), **ANY_NUMBER)
    grid = fake({21: make.trained(small, 2)})
    messages = strategy.configure_train(1, to_array_record(sent), ConfigRecord(), grid)
    strategy.aggregate_train(1, grid.send_and_receive(messages))
    whole = strategy.last_round.bytes_down
    assert strategy.last_round.bytes_up / whole == pytest.approx({"bf16": 0.5, "int8": 0.25, "top-k": 0.02}[codec], rel=0.05)


def changed(codec: str, **arrays: Any) -> Any:
    return {**good(codec), **{name.replace("__", "/").replace("_", "-"): array for name, array in arrays.items()}}


HOSTILE = {
    "a model as it is": ("int8", TRAINED, "CODEC-MISMATCH"),
    "another codec": ("int8", good("bf16"), "CODEC-MISMATCH"),
    "no counter": ("int8", {k: v for k, v in good("int8").items() if k != "steps"}, "CODEC-MISMATCH"),
    "one more": ("bf16", changed("bf16", more=np.zeros(1)), "CODEC-MISMATCH"),
    "too short": ("bf16", changed("bf16", codec__bf16=np.zeros(6, np.uint16)), "CODEC-MISMATCH"),
    "too long": ("int8", changed("int8", codec__int8=np.zeros(8, np.int8)), "CODEC-MISMATCH"),
    "other type": ("int8", changed("int8", codec__int8=np.zeros(7, np.float32)), "CODEC-MISMATCH"),
    "other order of bytes": ("bf16", changed("bf16", codec__bf16=np.zeros(7, ">u2")), "CODEC-MISMATCH"),
    "too few scales": ("int8", changed("int8", codec__scales=np.ones(1, np.float32)), "CODEC-MISMATCH"),
    "scale nan": ("int8", changed("int8", codec__scales=np.array([1, np.nan], np.float32)), "UPDATE-NONFINITE"),
    "scale huge": ("int8", changed("int8", codec__scales=np.array([1, 3e38], np.float32)), "UPDATE-NONFINITE"),
    "bits of infinity": ("bf16", changed("bf16", codec__bf16=np.full(7, 0x7F80, np.uint16)), "UPDATE-NONFINITE"),
    "outside": ("top-k", changed("top-k", codec__top_k=np.array([1, 2, 3, 7], np.int32)), "CODEC-MISMATCH"),
    "below zero": ("top-k", changed("top-k", codec__top_k=np.array([-1, 2, 3, 4], np.int32)), "CODEC-MISMATCH"),
    "one place twice": ("top-k", changed("top-k", codec__top_k=np.array([1, 2, 2, 4], np.int32)), "CODEC-MISMATCH"),
    "more than asked": ("top-k", packed("top-k", TRAINED, SENT, keep=1.0), "CODEC-MISMATCH"),
    "value infinite": (
        "top-k",
        changed("top-k", codec__values=np.array([1, 2, np.inf, 4], np.float32)),
        "UPDATE-NONFINITE",
    ),
    "counter of another shape": ("bf16", changed("bf16", steps=np.zeros(3, np.int64)), "MODEL-MISMATCH"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_reply_is_left_out(kind: str, fake: Any, make: Any) -> None:
    codec, arrays, code = HOSTILE[kind]
    strategy, made = one_round(codec, {22: make.trained(arrays, 2), 21: make.trained(good(codec), 2)}, fake)
    assert {r.site: r.reason.partition("]")[0] for r in strategy.last_round.replies} == {"aachen": "", "bergen": f"[{code}"}
    _, alone = one_round(codec, {21: make.trained(good(codec), 2)}, fake)
    assert {name: array.data for name, array in made.items()} == {name: array.data for name, array in alone.items()}


def test_an_update_is_added_to_the_model_that_its_site_started_from(fake: Any, make: Any) -> None:
    def one_more(message: Message) -> Message:
        received = from_array_record(message.content["arrays"])
        small = packed("bf16", {"w": received["w"] + np.float32(1)}, received)
        return make.trained(small, 2)(message)  # type: ignore[no-any-return]

    grid, sent = fake(dict.fromkeys((21, 22, 23), one_more)), {"w": np.zeros(2, np.float32)}
    strategy = Cyclic(transforms=(Bf16(), ClipNorm(2.0)))
    messages = strategy.configure_train(1, to_array_record(sent), ConfigRecord(), grid)
    arrays, _ = strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert arrays is not None
    assert arrays["w"].numpy().tolist() == [3, 3]  # one of each site on the way


def test_a_study_stacks_them_from_the_wire_inwards() -> None:
    study = sites.make_study(compression={"codec": "top-k", "keep": 0.1}, filtering={"reject-factor": 3})
    assert [type(transform).__name__ for transform in build_transforms(study)] == ["TopK", "NormOutlierFilter"]
    study = sites.make_study(compression={"codec": "int8"}, filtering={"clip-norm": 2})
    assert [type(transform).__name__ for transform in build_transforms(study)] == ["Int8", "ClipNorm"]
    assert build_transforms(sites.make_study()) == ()
