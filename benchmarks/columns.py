"""Median and trimmed mean against Flower's FedMedian and FedTrimmedAvg, whole strategies on the same replies; prints ratios.

    python -m benchmarks.columns [--quick] [--values N] [--turns N]

10 and 32 replies of 25 million float32 values (quick: 2 million), all different. medfl's time includes writing the replies to
disk. The ways take turns, and the best time of each is kept, by the clock and of the processor: the second is what to look at
on a busy machine. Memory is that of the process beyond the replies, which lie in
memory for the sake of Flower; medfl's pages on disk count as far as they are mapped. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import strategy as flower

from benchmarks.crowd import ask, copies, make_record, make_reply, peak, start_peak
from medfl.messages.records import array_views
from medfl.strategies.fedmedian import FedMedian
from medfl.strategies.fedtrimmedavg import FedTrimmedAvg

Rule = Callable[[int, list[Message]], tuple[ArrayRecord | None, MetricRecord | None]]
PAIRS = {"median": (FedMedian, flower.FedMedian), "trimmed mean": (FedTrimmedAvg, flower.FedTrimmedAvg)}


class Cost(NamedTuple):
    """Cost of a round: wall-clock and processor seconds, and memory in models."""

    wall: float
    cpu: float
    memory: float


def measure(rule: Rule, replies: list[Message]) -> tuple[Cost, ArrayRecord]:
    """Make a model of replies, and return what it took and the model."""
    before, wall, cpu = start_peak(), time.perf_counter(), time.process_time()
    result = rule(1, replies)[0]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if result is None:
        raise RuntimeError("no model came of the replies")
    return Cost(wall, cpu, (peak() - before) / result.count_bytes()), result


def difference(a: ArrayRecord, b: ArrayRecord) -> float:
    """Return the largest difference of any value."""
    other = array_views(b)
    return max(float(abs(x - other[name]).max()) for name, x in array_views(a).items())


def compare(name: str, count: int, values: int, turns: int) -> None:
    """Measure one rule in both ways, and print."""
    ours, theirs = PAIRS[name]
    sent, strategy = make_record(values, 0), ours()
    replies = [make_reply(message, values) for message in ask(strategy, count, sent)]
    costs: dict[str, list[Cost]] = {"medfl": [], "Flower": []}
    for _ in range(turns):
        messages = ask(strategy, count, sent)
        results = []
        for way, rule in (("medfl", strategy.aggregate_train), ("Flower", theirs().aggregate_train)):
            cost, result = measure(rule, list(copies(replies, messages)))
            costs[way].append(cost)
            results.append(result)
    gap = difference(*results)
    own, other = (_best(costs[way]) for way in ("medfl", "Flower"))
    print(f"{name} of {count} replies: {own.wall:.2f} s, Flower's {other.wall:.2f} s", end="")
    print(f"   ratio {own.wall / other.wall:.2f}, of the processor's time {own.cpu / other.cpu:.2f}; budget 0.25")
    print(f"       memory in models: {own.memory:.2f} (budget 3), Flower's {other.memory:.2f}; they differ by {gap:.1g}")


def _best(costs: list[Cost]) -> Cost:
    return Cost(min(c.wall for c in costs), min(c.cpu for c in costs), max(c.memory for c in costs))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 million values")
    parser.add_argument("--values", type=int, help="size of the model")
    parser.add_argument("--turns", type=int, default=2, help="how often each way is timed")
    options = parser.parse_args()
    values = options.values or (2_000_000 if options.quick else 25_000_000)
    print(f"replies of {values / 1e6:.0f} million float32 values")
    for count in (10, 32):
        for name in PAIRS:
            compare(name, count, values, options.turns)


if __name__ == "__main__":
    main()
