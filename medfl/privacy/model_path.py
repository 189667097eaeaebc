"""The path of a model from round to round, as a hospital sees it: what each message should hold if it is trained honestly.

A tripwire: it finds models that do not move as training moves them, and says nothing about smaller changes. See
``docs/decisions/0023-a-site-watches-the-models-path.md`` for how the limits were found and what stays below them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from medfl.privacy.expected_pace import Pace
from medfl.privacy.tensor_statistics import (
    Extent,
    FilterCounts,
    Tensor,
    count_filters,
    count_saturated,
    measure_change,
    measure_extent,
)
from medfl.runs.low_rank_arrays import FACTOR_B

FIRST, STEP, PEAK, RANGE, VARIANCE = "first model", "step", "largest step", "range", "variance"
FLAT, ONE_HOT, REPEATED, SATURATED = "constant filters", "one-hot filters", "repeated filters", "saturated units"
CONTROL = "control variate"

_MAX_FIRST = 1e-3  # difference from the site's own first model, beside its size: other CPUs and versions differ by far less
_MAX_WEIGHT, _MAX_BUFFER = 100.0, 1e6  # largest value beside that of the first model, or beside 1
_MAX_SHARE = {FLAT: 0.0, REPEATED: 0.0, ONE_HOT: 0.1, SATURATED: 0.5}  # of filters or units, beyond those of the first model
_FLOOR_WEIGHTS = 0.01  # least step that is expected, as a share of the weights themselves
_MAX_PUSH = 3.0  # beside the limit of a step: a control variate is a mean of gradients, of hospitals that differ
_FEW = 16  # values of a tensor, below which its own step is a matter of chance
_TAIL = 4.0  # largest value beside the root of the mean square, in a step
_SMALL = 1e-3  # size below which a first model counts as this: biases begin at 0


@dataclass(frozen=True)
class Alarm:
    """Something in a received model that training does not make; below its limit, what was measured.

    Parameters
    ----------
    what : str
        What was measured.
    tensor : str
        Name of the tensor.
    measured, limit : float
        The figure, and the largest that is no alarm.
    """

    what: str
    tensor: str
    measured: float
    limit: float

    @property
    def is_beyond(self) -> bool:
        """Whether the limit is passed; nan passes any."""
        return not self.measured <= self.limit

    def __str__(self) -> str:
        return f"{self.what} of tensor {self.tensor}: {self.measured:.4g}, where at most {self.limit:.4g} is expected"


class TensorFacts(NamedTuple):
    """What the watch keeps of a tensor of the first model."""

    extent: Extent
    filters: FilterCounts
    saturated: int = 0


class Received(NamedTuple):
    """A received model, and what it is compared with.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        The model; names, shapes and types are those of the first model.
    buffers : collection of str
        Names of the tensors that are no weights, but statistics.
    first : mapping of str to TensorFacts
        Facts of the first model.
    before : callable
        Returns a tensor of the model that it is compared with: the one received last, or the first one.
    rounds : float
        Rounds of training between the two, counted in rounds like this hospital's own; 0 where they must be the same.
    own : mapping of str to Extent
        Largest steps of this hospital's own training; empty before its first.
    pace : Pace
        What the study tells.
    max_step : float
        `Policy.max_step`; 0 switches the comparison off.
    """

    tensors: Mapping[str, Tensor]
    buffers: Collection[str]
    first: Mapping[str, TensorFacts]
    before: Callable[[str], Tensor]
    rounds: float
    own: Mapping[str, Extent]
    pace: Pace
    max_step: float


def collect_facts(tensors: Mapping[str, Tensor]) -> dict[str, TensorFacts]:
    """Return the facts of a first model."""
    return {
        name: TensorFacts(measure_extent(tensor), count_filters(tensor), _count_saturated(tensors, name))
        for name, tensor in tensors.items()
        if tensor.dtype.kind == "f"
    }


def measure_model(received: Received) -> Iterator[Alarm]:
    """Yield every figure of a received model, beside its limit; it is an alarm where it is beyond."""
    steps = _find_usual_steps(received)
    for name, tensor in received.tensors.items():
        if tensor.dtype.kind != "f":
            continue
        facts = received.first[name]
        if name in received.buffers:
            yield from _measure_buffer(name, tensor, facts)
            continue
        peak = measure_extent(tensor).peak
        yield Alarm(RANGE, name, peak / max(1.0, facts.extent.peak), _MAX_WEIGHT)
        if received.max_step:
            yield from _measure_step(received, name, tensor, steps)
        yield from _measure_shape(received.tensors, name, facts)


def measure_control(control: Mapping[str, Tensor], received: Received) -> Iterator[Alarm]:
    """Yield how far a control variate alone would push each tensor in a round, beside the step that is expected."""
    steps = _find_usual_steps(received)
    for name, tensor in control.items():
        if received.max_step and name in received.first and tensor.dtype.kind == "f":
            unit, _ = _expect_step(received, name, tensor.size, steps)
            yield Alarm(
                CONTROL, name, measure_extent(tensor).rms * received.pace.path_length / unit, _MAX_PUSH * received.max_step
            )


class _UsualSteps(NamedTuple):
    """Steps of this hospital's own training: the median over all tensors, and the largest."""

    median: float = 0.0
    largest: float = 0.0


def _find_usual_steps(received: Received) -> _UsualSteps:
    own = sorted(extent.rms for name, extent in received.own.items() if name not in received.buffers)
    return _UsualSteps(own[len(own) // 2], own[-1]) if own else _UsualSteps()


def _expect_step(received: Received, name: str, size: int, usual: _UsualSteps) -> tuple[float, float]:
    """Return the step of a tensor that is expected in one round: root of the mean square, and the largest value."""
    weights, pace = received.first[name].extent.rms, received.pace
    own = received.own.get(name)
    if own is None:
        rms, peak = max(pace.blind_step, _FLOOR_WEIGHTS * weights), 0.0
    else:
        others = usual.largest if size < _FEW else usual.median  # a tensor may stand still at one hospital, and not at others
        rms, peak = max(own.rms, others, _FLOOR_WEIGHTS * weights), own.peak
    rms = max(rms * pace.factor, 1e-9)
    return rms + pace.server_step, max(peak * pace.factor, _TAIL * rms) + pace.server_step


def _measure_step(received: Received, name: str, tensor: Tensor, usual: _UsualSteps) -> Iterator[Alarm]:
    change = measure_change(tensor, received.before(name))
    if not received.rounds:
        yield Alarm(FIRST, name, change.rms / max(received.first[name].extent.rms, _SMALL), _MAX_FIRST)
        return
    rms, peak = _expect_step(received, name, tensor.size, usual)
    yield Alarm(STEP, name, change.rms / (received.rounds * rms), received.max_step)
    yield Alarm(PEAK, name, change.peak / (received.rounds * peak), received.max_step)


def _measure_shape(tensors: Mapping[str, Tensor], name: str, facts: TensorFacts) -> Iterator[Alarm]:
    tensor, before = tensors[name], facts.filters
    if before.total:
        now = count_filters(tensor)
        began_flat = name.endswith(FACTOR_B) and before.flat == before.total  # a low-rank update begins at 0
        for what, more in (
            (FLAT, now.flat - before.flat),
            (ONE_HOT, now.one_hot - before.one_hot),
            (REPEATED, 0 if began_flat else now.repeated - before.repeated),  # first steps of Adam are of one size
        ):
            yield Alarm(what, name, max(0, more) / before.total, _MAX_SHARE[what])
    if name.endswith(".bias"):
        more = _count_saturated(tensors, name) - facts.saturated
        yield Alarm(SATURATED, name, max(0, more) / max(1, tensor.size), _MAX_SHARE[SATURATED])


def _count_saturated(tensors: Mapping[str, Tensor], name: str) -> int:
    weight = tensors.get(f"{name.removesuffix('.bias')}.weight")
    if not name.endswith(".bias") or weight is None or tensors[name].size not in weight.shape[:2]:
        return 0
    return count_saturated(weight, tensors[name])


def _measure_buffer(name: str, tensor: Tensor, facts: TensorFacts) -> Iterator[Alarm]:
    yield Alarm(RANGE, name, measure_extent(tensor).peak / max(1.0, facts.extent.peak), _MAX_BUFFER)
    if name.endswith("running_var"):
        yield Alarm(VARIANCE, name, max(0.0, -float(tensor.min(initial=0.0))), 0.0)
