"""The mean of replies: right, in any order the same bits, and untouched by what it refuses."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from medfl.aggregate import MEANS, ExactMean, FloatMean, Mean, MeanName
from medfl.errors import ExchangeError, RunError
from medfl.messages.models import BLOCK, check_finite

KINDS = sorted(MEANS)
RNG = np.random.default_rng(0)


def one(*values: float, dtype: str = "float32") -> dict[str, np.ndarray]:
    return {"w": np.array(values, dtype)}


def mean_of(kind: type[Mean], replies: list[dict[str, np.ndarray]], weights: list[float]) -> dict[str, np.ndarray]:
    mean = kind(replies[0])
    for reply, weight in zip(replies, weights, strict=True):
        mean.add(reply, weight)
    return mean.result()


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_weighted(kind: MeanName) -> None:
    result = mean_of(MEANS[kind], [one(1, 2), one(5, 2)], [3, 1])
    assert result["w"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_types_names_order_and_shapes_are_kept(kind: MeanName, dtype: str) -> None:
    shapes = {"b": (2, 3), "a": (), "empty": (0, 4), "fortran": (3, 2)}
    reply = {name: RNG.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    reply["fortran"] = np.asfortranarray(reply["fortran"])
    result = mean_of(MEANS[kind], [reply, reply], [2, 5])
    assert [(n, x.shape, x.dtype) for n, x in result.items()] == [(n, s, np.dtype(dtype)) for n, s in shapes.items()]
    for name in shapes:
        np.testing.assert_allclose(result[name], reply[name], rtol=0, atol=1e-3 if dtype == "float16" else 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_counters_are_not_averaged_and_the_largest_is_kept(kind: MeanName) -> None:
    replies = [{"n": np.array([3, 7], np.int64), "on": np.array(flag)} for flag in (False, True)]
    replies[1]["n"] = np.array([5, 2], np.int64)
    result = mean_of(MEANS[kind], replies, [100, 1])
    assert result["n"].dtype == np.int64
    assert result["n"].tolist() == [5, 7]
    assert result["on"].dtype == np.bool_
    assert bool(result["on"])


@pytest.mark.parametrize("weights", [[3, 141, 59, 26, 5], [0.1, 0.2, 0.3, 0.15, 0.25], [1, 1, 1, 1, 1]])
def test_every_order_of_arrival_gives_the_same_bits(weights: list[float]) -> None:
    size = 1000
    replies = [one(*(RNG.standard_normal(size) * 10.0**k)) for k in (-6, -1, 0, 2, 5)]
    results = []
    for order in itertools.permutations(range(5)):
        mean = ExactMean(one(*np.zeros(size)))
        for k in order:
            mean.add(replies[k], weights[k])
        results.append(mean.result()["w"].tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("wide", "narrow"), [("float32", "float16"), ("float64", "float32"), ("float64", "float16")])
def test_a_narrower_reply_counts_and_the_models_type_is_kept(kind: MeanName, wide: str, narrow: str) -> None:
    model = {"w": np.zeros(2, wide), "scale": np.array(1.0, wide), "n": np.array(0)}
    mean = MEANS[kind](model)
    mean.add({"w": np.array([1, 1000], narrow), "scale": np.array(0.5, narrow), "n": np.array(2)}, 3)
    mean.add({"w": np.array([5, 1001], wide), "scale": np.array(0.5, wide), "n": np.array(1)}, 1)
    result = mean.result()
    assert {name: (x.dtype, x.tolist()) for name, x in result.items()} == {
        "w": (np.dtype(wide), [2.0, 1000.25]),  # float16 has no 1000.25
        "scale": (np.dtype(wide), 0.5),
        "n": (np.dtype(np.int64), 2),
    }


def test_many_float16_replies_are_summed_as_widely_as_the_model() -> None:
    replies = [one(*np.full(3, 0.1), dtype="float16") for _ in range(3000)]  # a float16 sum would stick at 256
    for kind in MEANS.values():
        mean = kind(one(0.0, 0.0, 0.0))
        for reply in replies:
            mean.add(reply, 1)
        np.testing.assert_allclose(mean.result()["w"], float(np.float16(0.1)), rtol=1e-5)


def test_every_order_gives_the_same_bits_also_with_narrower_replies_and_counters() -> None:
    replies = [
        {"w": (RNG.standard_normal(50) * 3).astype(dtype), "n": np.array([k, -k])}
        for k, dtype in enumerate(("float16", "float32", "float16", "float32"))
    ]
    results = set()
    for order in itertools.permutations(range(4)):
        mean = ExactMean({"w": np.zeros(50, np.float32), "n": np.zeros(2, np.int64)})
        for k in order:
            mean.add(replies[k], 0.3 + k)
        results.add(b"".join(x.tobytes() for x in mean.result().values()))
    assert len(results) == 1


def test_the_exact_mean_is_as_good_as_float32() -> None:
    size = 5000
    replies = [one(*(RNG.standard_normal(size) * 0.05)) for _ in range(7)]
    weights = [float(w) for w in (1, 12, 33, 4, 90, 7, 2)]
    right = np.average([r["w"].astype(np.float64) for r in replies], axis=0, weights=weights)
    error = np.abs(mean_of(ExactMean, replies, weights)["w"] - right)
    assert error.max() < 2.0**-26  # the spacing of float32 at 0.25 is 2**-26
    np.testing.assert_allclose(mean_of(FloatMean, replies, weights)["w"], right, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (one(1.0, np.nan), "UPDATE-NONFINITE"),
        (one(np.inf, 1.0), "UPDATE-NONFINITE"),
        (one(-np.inf, 1.0), "UPDATE-NONFINITE"),
        (one(1.0), "MODEL-MISMATCH"),
        (one(1.0, 1.0, dtype="float64"), "MODEL-MISMATCH"),
        (one(1, 1, dtype="int16"), "MODEL-MISMATCH"),
        (one(1.0, np.nan, dtype="float16"), "UPDATE-NONFINITE"),
        (one(-np.inf, 1.0, dtype="float16"), "UPDATE-NONFINITE"),
        ({"v": np.zeros(2, np.float32)}, "MODEL-MISMATCH"),
        ({}, "MODEL-MISMATCH"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_reply_leaves_no_trace(kind: MeanName, bad: dict[str, np.ndarray], code: str) -> None:
    mean = MEANS[kind](one(0.0, 0.0))
    mean.add(one(1.0, 3.0), 4)
    before = mean.result()["w"].tobytes()
    with pytest.raises(ExchangeError) as caught:
        mean.add(bad, 2)
    assert caught.value.code == code
    assert (mean.count, mean.weight) == (1, 4.0)
    assert mean.result()["w"].tobytes() == before


@pytest.mark.parametrize("place", [0, BLOCK, 2 * BLOCK])
def test_a_reply_that_is_bad_late_in_its_bytes_leaves_no_trace(place: int) -> None:
    reference = {"a": np.zeros(BLOCK + 1, np.float32), "b": np.zeros(2 * BLOCK + 1, np.float32)}
    good = {name: RNG.standard_normal(x.size).astype(np.float32) for name, x in reference.items()}
    mean = ExactMean(reference)
    mean.add(good, 3)
    before = {name: x.tobytes() for name, x in mean.result().items()}
    bad = {name: (x * 1e4).astype(np.float32) for name, x in good.items()}
    bad["b"][place] = np.nan
    with pytest.raises(ExchangeError, match="UPDATE-NONFINITE"):
        mean.add(bad, 1000)
    assert {name: x.tobytes() for name, x in mean.result().items()} == before


def test_a_mean_that_a_full_disk_left_half_way_gives_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise RunError("DISK-FULL", "the disk is full.")

    values = np.ones(2 * BLOCK, np.float32)
    mean = ExactMean({"w": values})
    mean.add({"w": values}, 1)
    monkeypatch.setattr("medfl.aggregate.leftover_values.LeftoverValues.put", fail)
    values[:BLOCK], values[BLOCK] = 7, 1e-30  # so the first block is added, and the second is not
    with pytest.raises(RunError, match="DISK-FULL"):
        mean.add({"w": values}, 1)
    for use in (mean.result, lambda: mean.add({"w": values}, 1)):
        with pytest.raises(RuntimeError, match="half way"):
            use()


class InterruptedReply(dict[str, np.ndarray]):
    """A reply during which somebody presses Ctrl-C: after its floats were added, while its counters are."""

    reads = 0

    def __getitem__(self, name: str) -> np.ndarray:
        self.reads += name == "n"
        if self.reads == 2:  # the first is that of the check
            raise KeyboardInterrupt
        return super().__getitem__(name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mean_that_was_stopped_half_way_gives_no_result(kind: MeanName) -> None:
    reply = {"w": np.ones(1, np.float32), "n": np.array(1)}
    mean = MEANS[kind](reply)
    mean.add(reply, 1)
    with pytest.raises(KeyboardInterrupt):
        mean.add(InterruptedReply(reply), 1)
    with pytest.raises(RuntimeError, match="half way"):
        mean.result()


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), 2**54, 1e-9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_out_of_range_is_refused(kind: MeanName, weight: float) -> None:
    mean = MEANS[kind](one(0.0))
    with pytest.raises(ExchangeError, match="WEIGHT-RANGE"):
        mean.add(one(1.0), weight)
    with pytest.raises(ExchangeError, match="WEIGHT-ZERO"):
        mean.result()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_cannot_be_averaged_is_refused(kind: MeanName) -> None:
    with pytest.raises(ExchangeError, match="MODEL-TYPE"):
        MEANS[kind]({"c": np.zeros(2, np.complex64)})


@pytest.mark.parametrize("kind", KINDS)
def test_the_values_of_the_model_that_was_sent_do_not_count(kind: MeanName) -> None:
    mean = MEANS[kind](one(np.nan, 1e30))
    mean.add(one(0.5, 0.25), 3)
    assert mean.result()["w"].tolist() == [0.5, 0.25]


def test_the_float_mean_refuses_what_its_sums_cannot_hold() -> None:
    mean = FloatMean(one(0.0))
    with pytest.raises(ExchangeError, match="UPDATE-RANGE"):
        mean.add(one(1e38), 1)
    mean.add(one(1.0), 1)
    assert mean.result()["w"].tolist() == [1.0]


def test_draining_gives_the_same_mean_once() -> None:
    mean = ExactMean(one(0.0))
    mean.add(one(0.3), 7)
    whole = mean.result()
    assert dict(mean.results(drain=True)) == whole


@pytest.mark.parametrize(("weight", "models"), [(3, 2), (0.3, 3)])
def test_extra_memory_is_two_models_and_three_where_sums_need_more_bits(weight: float, models: int) -> None:
    size, rng = 2_000_000, np.random.default_rng(0)
    replies = [{"w": rng.standard_normal(size, dtype=np.float32)} for _ in range(5)]
    tracemalloc.start()
    mean = ExactMean(replies[0])
    for reply in replies * 2:
        mean.add(reply, weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < models * 4 * size + 8 * 8 * BLOCK  # and a few buffers of one block
    assert peak > (models - 0.1) * 4 * size


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_check_finite_finds_one_bad_value(dtype: str, bad: float) -> None:
    values = np.full(BLOCK + 2, -6e4, dtype)
    check_finite({"w": values, "n": np.array(1)})
    check_finite({"w": np.full(3, 1e30, np.float32)})  # its squares overflow, it does not
    values[-1] = bad
    with pytest.raises(ExchangeError, match="UPDATE-NONFINITE"):
        check_finite({"w": values})
