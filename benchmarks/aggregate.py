"""Mean of replies against one numpy pass ``acc += w * x`` over the same bytes; prints ratios and asserts nothing.

    python benchmarks/aggregate.py [--quick]

Ten replies of 25 million float32 values (quick: 2 million). Each way is timed in turn, several times over, and the best is
kept, so that a busy machine disturbs all ways alike. The warm ratio is of folding alone; the whole one includes the reference's
scale, the first touch of the sums' memory and the result. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medfl.aggregate import ExactMean, FloatMean, Mean

Model = dict[str, NDArray[np.float32]]


def make_model(values: int, seed: int) -> Model:
    """Make tensors as a network has them: a few large, one odd-sized, one small."""
    rng = np.random.default_rng(seed)
    sizes = [values // 2, values // 4, values // 8 + 1, 100]
    sizes.append(values - sum(sizes))
    return {f"tensor{i}": rng.standard_normal(n, dtype=np.float32) * np.float32(0.05) for i, n in enumerate(sizes)}


def plain(replies: list[Model], weights: list[int]) -> Model:
    """One pass a reply: the yardstick."""
    total = {name: np.zeros_like(x) for name, x in replies[0].items()}
    for reply, weight in zip(replies, weights, strict=True):
        for name, x in reply.items():
            total[name] += np.float32(weight) * x
    return total


def folded(kind: type[Mean], replies: list[Model], weights: list[int]) -> Model:
    """Fold all replies with one of medfl's means."""
    mean = kind(replies[0])
    for reply, weight in zip(replies, weights, strict=True):
        mean.add(reply, weight)
    return mean.result()


def fold_all(mean: Mean, replies: list[Model], weights: list[int]) -> None:
    """Fold all replies into sums that are there already."""
    for reply, weight in zip(replies, weights, strict=True):
        mean.add(reply, weight)


def peak_models(kind: type[Mean], replies: list[Model], weights: list[int]) -> tuple[float, float]:
    """Return the peak while folding, and including the result, in sizes of one model."""
    size = sum(x.nbytes for x in replies[0].values())
    tracemalloc.start()
    mean = kind(replies[0])
    for reply, weight in zip(replies, weights, strict=True):
        mean.add(reply, weight)
    folding = tracemalloc.get_traced_memory()[1]
    mean.result()
    everything = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return folding / size, everything / size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 million values and 3 turns")
    quick = parser.parse_args().quick
    values, turns = (2_000_000, 3) if quick else (25_000_000, 7)
    models = [make_model(values, seed) for seed in range(4)]  # used in turn: ten would only need more memory
    replies, weights = [models[i % 4] for i in range(10)], [3, 14, 15, 92, 65, 35, 89, 79, 32, 38]
    ways: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(replies, weights),
        "float": lambda: folded(FloatMean, replies, weights),
        "exact": lambda: folded(ExactMean, replies, weights),
    }
    means = (FloatMean(replies[0]), ExactMean(replies[0]))
    for mean in means:
        mean.add(replies[0], 1)
    ways["warm float"], ways["warm exact"] = (partial(fold_all, mean, replies, weights) for mean in means)
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(turns):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - begin)
    print(f"10 replies of {values / 1e6:.0f} million float32 values")
    print(f"plain  {best['plain']:.3f} s   acc += w * x")
    for name, budget, kind in (("float", 1.1, FloatMean), ("exact", 2.0, ExactMean)):
        folding, everything = peak_models(kind, replies, weights)
        warm, whole = best[f"warm {name}"] / best["plain"], best[name] / best["plain"]
        print(f"{name}  {best[name]:.3f} s   ratio {warm:.2f} warm, {whole:.2f} whole; budget {budget} warm")
        print(f"       extra memory in models: {folding:.2f} while folding (budget 2), {everything:.2f} with the result")


if __name__ == "__main__":
    main()
