"""Packing and unpacking of updates, on numbers small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medfl.errors import ExchangeError
from medfl.messages import update_codecs

MODEL = {
    "z.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "steps": np.array(7),
    "a.bias": np.array(1.5, np.float32),
    "nothing": np.empty((0, 2), np.float32),
}
TRAINED = MODEL | {"z.weight": MODEL["z.weight"] + np.float32(0.5), "steps": np.array(9), "a.bias": np.array(1, np.float32)}


def values(parts: update_codecs.TensorParts) -> list[float]:
    return [value for _, part in parts for value in part.tolist()]


def test_an_update_is_one_vector_in_the_order_of_names_and_makes_the_model_again() -> None:
    update = update_codecs.diff(TRAINED, MODEL)
    assert update.tolist() == [-0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert update.dtype == np.float32
    packed = update_codecs.to_bf16(update) | {"steps": TRAINED["steps"]}
    model = update_codecs.apply_update(MODEL, update_codecs.from_bf16(packed, MODEL), packed)
    assert list(model) == list(MODEL)
    for name, tensor in TRAINED.items():
        assert model[name].dtype == tensor.dtype
        assert np.array_equal(model[name], tensor)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("codec", ["bf16", "int8", "top-k"])
def test_models_of_every_width_come_back_in_their_type(codec: str, dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(1)
    sent = {"w": rng.standard_normal((4, 5)).astype(dtype)}
    trained = {"w": (sent["w"] + rng.standard_normal((4, 5)) * 0.1).astype(dtype)}
    update = update_codecs.diff(trained, sent)
    assert update.dtype == (np.float64 if dtype is np.float64 else np.float32)
    parts = {
        "bf16": lambda: update_codecs.from_bf16(update_codecs.to_bf16(update), sent),
        "int8": lambda: update_codecs.from_int8(update_codecs.to_int8(update, sent, 3), sent),
        "top-k": lambda: update_codecs.from_top_k(update_codecs.to_top_k(update, 1.0), sent, 1.0),
    }[codec]()
    model = update_codecs.apply_update(sent, parts, {})
    assert model["w"].dtype == dtype
    assert np.abs(model["w"] - trained["w"]).max() < {"bf16": 2e-3, "int8": 4e-3, "top-k": 1e-3}[codec]


def test_bf16_rounds_as_torch_does() -> None:
    rng = np.random.default_rng(0)
    update = (rng.standard_normal(10_000) * 10.0 ** rng.integers(-30, 30, 10_000)).astype(np.float32)
    decoded = values(update_codecs.from_bf16(update_codecs.to_bf16(update), {"w": update}))
    assert decoded == torch.from_numpy(update).to(torch.bfloat16).float().tolist()


def test_int8_takes_one_scale_a_tensor_and_rounds_to_a_neighbour() -> None:
    update = np.array([0.5, -12.7, 12.65, 0, 1e-3], np.float32)  # "a" is the first, "b" the rest
    model = {"b": np.zeros(4, np.float32), "a": np.zeros(1, np.float32)}
    packed = update_codecs.to_int8(update, model, 0)
    assert packed[update_codecs.SCALES] == pytest.approx([0.5 / 127, 0.1])
    assert packed[update_codecs.INT8][0] in (126, 127)
    assert packed[update_codecs.INT8][1] in (-127, -126)
    assert packed[update_codecs.INT8][2] in (126, 127)
    assert packed[update_codecs.INT8][3] == 0
    assert packed[update_codecs.INT8].dtype == np.int8


def test_int8_is_right_on_average_and_decided_by_its_seed() -> None:
    update = np.array([1.0, 0.3, -0.7, 0.001, -0.0004], np.float32)
    model = {"w": np.zeros(5, np.float32)}
    many = [values(update_codecs.from_int8(update_codecs.to_int8(update, model, seed), model)) for seed in range(20_000)]
    # a rounding has a standard deviation of at most half a step, 1/254: the mean of 20000 is within 5 of its own
    assert np.mean(many, axis=0) == pytest.approx(update, abs=5 / 254 / np.sqrt(20_000))
    assert np.ptp(many, axis=0).max() == pytest.approx(1 / 127, rel=1e-3)
    assert many[5] == values(update_codecs.from_int8(update_codecs.to_int8(update, model, 5), model))


def test_int8_of_no_change_is_no_change() -> None:
    model = {"w": np.zeros(3, np.float32)}
    assert values(update_codecs.from_int8(update_codecs.to_int8(np.zeros(3, np.float32), model, 1), model)) == [0, 0, 0]


def test_top_k_takes_the_largest_over_the_whole_update() -> None:
    update = np.array([1, -5, 0.5, 4, -2, 3], np.float32)
    packed = update_codecs.to_top_k(update, 0.5)
    assert packed[update_codecs.TOP_K].tolist() == [1, 3, 5]
    assert packed[update_codecs.VALUES].tolist() == [-5, 4, 3]
    model = {"b": np.zeros(4, np.float32), "a": np.zeros(2, np.float32)}
    decoded = {name: part.tolist() for name, part in update_codecs.from_top_k(packed, model, 0.5)}
    assert decoded == {"a": [0, -5], "b": [0, 4, 0, 3]}
    assert update_codecs.to_top_k(update, 1e-6)[update_codecs.TOP_K].tolist() == [1]  # one at least


def test_a_diverged_update_is_not_packed() -> None:
    with pytest.raises(ExchangeError, match="UPDATE-NONFINITE"):
        update_codecs.diff(TRAINED | {"a.bias": np.array(np.nan, np.float32)}, MODEL)
    with pytest.raises(ExchangeError, match="MODEL-MISMATCH"):
        update_codecs.diff({"a.bias": MODEL["a.bias"]}, MODEL)
