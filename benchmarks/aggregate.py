"""Mean of replies against one numpy pass ``acc += w * x`` over the same bytes; prints ratios and asserts nothing.

    python -m benchmarks.aggregate [--quick] [--values N]

Ten replies of 25 million float32 values (quick: 2 million). Each way is timed in turn, several times over, and the best is
kept, so that a busy machine disturbs all ways alike. The warm ratio is of folding alone; the whole one includes the first
touch of the sums' memory and the result. Sums that need more bits are timed warm. Memory is that of the process while FedAvg
takes 4, 16 and 64 replies that are made one at a time, beyond the model that was sent and the reply being folded. Set
OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from benchmarks.crowd import ask, make_record, make_reply, peak, sizes_of, start_peak
from medfl.aggregate import ExactMean, FloatMean, Mean, MeanName
from medfl.strategies.fedavg import FedAvg

Model = dict[str, NDArray[np.floating]]

_WEIGHTS = [3.0, 14.0, 15.0, 92.0, 65.0, 35.0, 89.0, 79.0, 32.0, 38.0]


def make_model(values: int, seed: int) -> Model:
    """Make tensors as a network has them."""
    rng = np.random.default_rng(seed)
    return {f"tensor{i}": rng.standard_normal(n, dtype=np.float32) * np.float32(0.05) for i, n in enumerate(sizes_of(values))}


def plain(replies: list[Model], weights: list[float]) -> Model:
    """One pass a reply: the yardstick."""
    total = {name: np.zeros_like(x) for name, x in replies[0].items()}
    for reply, weight in zip(replies, weights, strict=True):
        for name, x in reply.items():
            total[name] += x.dtype.type(weight) * x
    return total


def folded(kind: type[Mean], replies: list[Model], weights: list[float]) -> Model:
    """Fold all replies with one of medfl's means."""
    mean = kind(replies[0])
    fold_all(mean, replies, weights)
    return mean.result()


def fold_all(mean: Mean, replies: list[Model], weights: list[float]) -> None:
    """Fold all replies into sums that are there already."""
    for reply, weight in zip(replies, weights, strict=True):
        mean.add(reply, weight)


def peak_models(kind: MeanName, sent: ArrayRecord, values: int, count: int) -> tuple[float, float]:
    """Return the peak of FedAvg while folding, and including the result, in sizes of one model."""
    strategy, model = FedAvg(mean=kind), 4 * values
    messages = ask(strategy, count, sent)
    folding = before = start_peak()

    def replies() -> Iterator[Message]:
        nonlocal folding
        for message in messages:
            yield make_reply(message, values)
        folding = peak()

    strategy.aggregate_train(1, replies())
    return (folding - before) / model - 1, (peak() - before) / model - 1


def print_times(values: int, turns: int) -> None:
    """Time the means and the yardstick in turn, and print them."""
    models = [make_model(values, seed) for seed in range(4)]  # used in turn: ten would only need more memory
    replies, weights = [models[i % 4] for i in range(10)], _WEIGHTS
    ways: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(replies, weights),
        "float": lambda: folded(FloatMean, replies, weights),
        "exact": lambda: folded(ExactMean, replies, weights),
    }
    means = (FloatMean(replies[0]), ExactMean(replies[0]))
    for mean in means:
        mean.add(replies[0], 1)
    ways["warm float"], ways["warm exact"] = (partial(fold_all, mean, replies, weights) for mean in means)
    best = time_in_turn(ways, turns)
    print(f"10 replies of {values / 1e6:.0f} million float32 values")
    print(f"plain  {best['plain']:.3f} s   acc += w * x")
    for name, budget in (("float", 1.1), ("exact", 2.0)):
        warm, whole = best[f"warm {name}"] / best["plain"], best[name] / best["plain"]
        print(f"{name}  {best[name]:.3f} s   ratio {warm:.2f} warm, {whole:.2f} whole; budget {budget} warm")


def print_costly_sums(values: int, turns: int) -> None:
    """Time the exact mean, warm, where its sums need more bits than those of usual models and weights."""
    model = make_model(values, 0)
    wide = {name: x.astype(np.float64) * 1.1 for name, x in model.items()}
    for what, reply, factor in (("weights above 10,000", model, 10_000), ("fractions", model, 1 / 7), ("float64", wide, 1)):
        replies, weights = [reply] * 10, [weight * factor for weight in _WEIGHTS]
        mean = ExactMean(reply)
        fold_all(mean, replies, weights)
        best = time_in_turn(
            {"plain": partial(plain, replies, weights), "warm": partial(fold_all, mean, replies, weights)}, turns
        )
        print(f"exact  ratio {best['warm'] / best['plain']:.2f} warm with {what}")


def time_in_turn(ways: Mapping[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Return the shortest time of each way in seconds."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(turns):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def print_memory(values: int) -> None:
    """Print what FedAvg takes beyond the model and the reply being folded."""
    sent = make_record(values, 0)
    for kind, budget in (("float", 2), ("exact", 3)):
        for count in (4, 16, 64):
            folding, everything = peak_models(kind, sent, values, count)
            print(
                f"{kind}  {count:2} replies: {folding:.2f} models of memory beside the model and the reply being folded "
                f"(budget {budget}), {everything:.2f} with the result"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 million values and 3 turns")
    parser.add_argument("--values", type=int, help="size of the model")
    options = parser.parse_args()
    values = options.values or (2_000_000 if options.quick else 25_000_000)
    print_times(values, 3 if options.quick else 7)
    print_costly_sums(values, 3)
    print_memory(values)


if __name__ == "__main__":
    main()
