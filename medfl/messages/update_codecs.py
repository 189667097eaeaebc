"""Codecs of updates: what a site changed in the model, packed into a few small arrays for the wire, and unpacked again.

An update is the trained model minus the received one. Its floating-point tensors travel as one array, in the order of their
names, so that headers cost nothing; integer and boolean tensors travel unchanged, under their own names. Sites encode
(`medfl.clients.update_compression`) and the server decodes (`medfl.strategies.transforms.update_decoding`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from medfl.errors import ExchangeError
from medfl.messages.models import BLOCK, Tensor, Tensors, check_layout, layout_of

BF16, INT8, TOP_K = "codec/bf16", "codec/int8", "codec/top-k"  # names of the packed arrays, which also name the codec
SCALES, VALUES = "codec/scales", "codec/values"

PackedUpdate = dict[str, Tensor]
TensorParts = Iterator[tuple[str, Tensor]]

_FIX = "All sites must run the same study and the same version of medfl."


def diff(trained: Tensors, received: Tensors) -> Tensor:
    """Return an update as one vector: the floating-point tensors in the order of their names.

    Parameters
    ----------
    trained, received : mapping of str to ndarray
        Two models of one layout.

    Returns
    -------
    ndarray
        float32, or float64 when a tensor of the model has that type.

    Raises
    ------
    ExchangeError
        ``MODEL-MISMATCH`` when the layouts differ, ``UPDATE-NONFINITE`` when a value is not finite.
    """
    check_layout(trained, layout_of(received))
    wide = np.result_type(np.float32, *(x.dtype for x in received.values() if x.dtype.kind == "f"))
    update = np.empty(_size(received), wide)
    with np.errstate(over="ignore", invalid="ignore"):
        for name, part in _split_vector(received, update):
            np.subtract(trained[name].reshape(-1), received[name].reshape(-1), out=part, dtype=wide)
    if not np.isfinite(update).all():
        raise ExchangeError(
            "UPDATE-NONFINITE", "the update holds not-a-number or infinity.", "Training has diverged at this site."
        )
    return update


def apply_update(sent: Tensors, parts: TensorParts, packed: Tensors) -> dict[str, Tensor]:
    """Return the model plus an update: the inverse of `diff`, up to rounding to the types of the model.

    Parameters
    ----------
    sent : mapping of str to ndarray
        The model that was sent out.
    parts : iterable of (str, ndarray)
        Name and update of every floating-point tensor, flattened, as `from_int8` and the others yield them.
    packed : mapping of str to ndarray
        Holds the integer and boolean tensors, whose layout is checked where they are added.
    """
    model: dict[str, Tensor] = dict.fromkeys(sent, np.empty(0))  # in this order
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where it is added
        for name, part in parts:
            before = sent[name]
            model[name] = np.add(before.reshape(-1), part).astype(before.dtype, copy=False).reshape(before.shape)
    return model | {name: packed[name] for name in sent if sent[name].dtype.kind != "f"}


def to_bf16(update: Tensor) -> PackedUpdate:
    """Keep the upper 16 bits of each float32, rounded to nearest, ties to even (bfloat16).

    Examples
    --------
    >>> packed = to_bf16(np.array([1.0, 1.00390625, 1.01171875], np.float32))
    >>> [part.tolist() for _, part in from_bf16(packed, {"w": np.zeros(3)})]
    [[1.0, 1.0, 1.015625]]
    """
    bits = update.astype(np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return {BF16: ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)}


def from_bf16(packed: Tensors, model: Tensors) -> TensorParts:
    """Yield the update of each tensor of a model.

    Raises
    ------
    ExchangeError
        ``CODEC-MISMATCH`` when the arrays do not fit the model.
    """
    _check_names(packed, model, BF16)
    bits = _read_array(packed, BF16, np.uint16, _size(model))
    for name, part in _split_vector(model, bits):
        yield name, (part.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_int8(update: Tensor, model: Tensors, seed: int) -> PackedUpdate:
    """Round each tensor to 255 even steps, up or down at random so that the expected value is the exact one.

    The scale of a tensor is its largest absolute value over 127. Stochastic rounding as in QSGD (Alistarh et al. 2017,
    https://arxiv.org/abs/1610.02132), with even steps, and the largest value instead of the norm.

    Parameters
    ----------
    update : ndarray
        One vector, as of `diff`.
    model : mapping of str to ndarray
        A model of the layout of the update.
    seed : int
        Decides every rounding.
    """
    rng = np.random.default_rng(seed)
    codes, scales = np.empty(update.size, np.int8), []
    for (_, part), (_, out) in zip(_split_vector(model, update), _split_vector(model, codes), strict=True):
        largest = float(np.abs(part).max(initial=0.0)) / 127
        # rounded up, so that no value exceeds 127 steps and can still be rounded up
        scale = np.nextafter(np.float32(largest), np.float32(np.inf)) if largest else np.float32(0)
        scales.append(scale)
        for start in range(0, part.size, BLOCK):
            block = part[start : start + BLOCK]
            steps = block / np.float64(scale) if scale else np.zeros(block.size)
            out[start : start + BLOCK] = np.floor(steps + rng.random(block.size))
    return {INT8: codes, SCALES: np.array(scales, np.float32)}


def from_int8(packed: Tensors, model: Tensors) -> TensorParts:
    """Yield the update of each tensor of a model.

    Raises
    ------
    ExchangeError
        ``CODEC-MISMATCH`` when the arrays do not fit the model, ``UPDATE-NONFINITE`` when a scale is not finite.
    """
    _check_names(packed, model, INT8, SCALES)
    codes, scales = (
        _read_array(packed, INT8, np.int8, _size(model)),
        _read_array(packed, SCALES, np.float32, len(_float_names(model))),
    )
    _check_finite(scales)
    for (name, part), scale in zip(_split_vector(model, codes), scales, strict=True):
        yield name, part * scale


def to_top_k(update: Tensor, keep: float) -> PackedUpdate:
    """Return the values of the whole update that are largest in size, and their positions.

    Parameters
    ----------
    update : ndarray
        One vector, as of `diff`, plus what earlier rounds left over.
    keep : float
        Share of the values, above 0; at least one is taken.
    """
    if update.size > np.iinfo(np.int32).max:
        raise ExchangeError("CODEC-MISMATCH", f"the model has {update.size} values, too many for 'top-k'.", "Use int8.")
    count = _count_kept(update.size, keep)
    first = update.size - count
    largest = np.argpartition(np.abs(update), first)[first:] if count else np.empty(0)
    positions = np.sort(largest).astype(np.int32)
    return {TOP_K: positions, VALUES: update[positions].astype(np.float32)}


def from_top_k(packed: Tensors, model: Tensors, keep: float) -> TensorParts:
    """Yield the update of each tensor of a model, zero where no value came.

    Raises
    ------
    ExchangeError
        ``CODEC-MISMATCH`` when the number of values is not what `keep` says, or their positions are not rising or lie outside;
        ``UPDATE-NONFINITE`` when a value is not finite.
    """
    _check_names(packed, model, TOP_K, VALUES)
    size, start = _size(model), 0
    count = _count_kept(size, keep)
    positions, values = _read_array(packed, TOP_K, np.int32, count), _read_array(packed, VALUES, np.float32, count)
    if count and not (positions[0] >= 0 and positions[-1] < size and (positions[1:] > positions[:-1]).all()):
        raise ExchangeError("CODEC-MISMATCH", "the positions of the largest changes lie outside the model, or one comes twice.")
    _check_finite(values)
    for name in _float_names(model):
        part = np.zeros(model[name].size, np.float32)
        inside = slice(*np.searchsorted(positions, (start, start + part.size)))
        part[positions[inside] - start] = values[inside]
        yield name, part
        start += part.size


def _count_kept(size: int, keep: float) -> int:
    return min(size, math.ceil(keep * size))


def _float_names(model: Tensors) -> list[str]:
    return sorted(name for name, tensor in model.items() if tensor.dtype.kind == "f")


def _split_vector(model: Tensors, vector: Tensor) -> TensorParts:
    """Yield the name of every floating-point tensor and its part of a vector."""
    start = 0
    for name in _float_names(model):
        yield name, vector[start : start + model[name].size]
        start += model[name].size


def _size(model: Tensors) -> int:
    return sum(model[name].size for name in _float_names(model))


def _check_names(packed: Tensors, model: Tensors, *names: str) -> None:
    """Check that the reply holds the arrays of this codec, the integer tensors, and nothing else."""
    expected = {*names, *(name for name, tensor in model.items() if tensor.dtype.kind != "f")}
    if set(packed) != expected:
        what = f"{len(packed)} arrays came; {len(expected & set(packed))} of them are among the {len(expected)} expected."
        raise ExchangeError("CODEC-MISMATCH", what, _FIX)


def _read_array(packed: Tensors, name: str, dtype: type[np.generic], size: int) -> Tensor:
    array = packed[name]
    if array.shape != (size,) or array.dtype != dtype:
        what = f"{name!r} came as {array.shape} {array.dtype}, expected ({size},) {np.dtype(dtype)}."
        raise ExchangeError("CODEC-MISMATCH", what, _FIX)
    return array


def _check_finite(values: Tensor) -> None:
    if not np.isfinite(values).all():
        raise ExchangeError("UPDATE-NONFINITE", "the packed update holds not-a-number or infinity.", _FIX)
