"""The part of a network that a study trains, by name: words for kinds of layers, or patterns of the names of parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from medfl.schema import Strings

ALL: tuple[str, ...] = ("all",)
TUNE_WORDS = ("head", "norm", "lora")
_PATTERN_SIGNS = frozenset("*?[.")  # the name of a parameter is that of its layer, a dot, and its own
_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+")  # people approve a study by its words: nothing that could forge a line


def _check_tune(parts: tuple[str, ...]) -> tuple[str, ...]:
    known = ", ".join((*ALL, *TUNE_WORDS))
    form = f"needs {known}, or patterns of names of parameters such as model.2.*, with commas between them"
    if not parts or len(set(parts)) < len(parts):
        raise ValueError(f"{form}, each once")
    strange = [part for part in parts if not _PATTERN.fullmatch(part)]
    if strange:
        raise ValueError(f"{strange[0]!r} has signs that no pattern has: letters, digits, and _ . * ? [ ] ! - alone")
    if "all" in parts and parts != ALL:
        raise ValueError("'all' stands alone: it trains every layer")
    unknown = [part for part in parts if part not in (*ALL, *TUNE_WORDS) and not _PATTERN_SIGNS & set(part)]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no kind of layers and no pattern; {form}")
    return parts


Tune = Annotated[
    Strings,
    AfterValidator(_check_tune),
    Field(exclude_if=lambda value: value == ALL, description=f"{', '.join((*ALL, *TUNE_WORDS))} or patterns, in quotes"),
]


def tune_patterns(tune: tuple[str, ...]) -> tuple[str, ...]:
    """Return those parts that are patterns of the names of parameters."""
    return tuple(part for part in tune if part not in (*ALL, *TUNE_WORDS))


def tune_conflicts(tune: tuple[str, ...], strategy: str, local_layers: tuple[str, ...], norm: str) -> Iterator[str]:
    """Yield why a part of a network cannot be trained with the other choices of a study.

    Parameters
    ----------
    tune : tuple of str
        ``training.tune`` of the study; it names a part.
    strategy : str
        Name of the algorithm.
    local_layers : tuple of str
        Kinds of layers that stay at the hospitals.
    norm : str
        ``network.norm``.
    """
    if not tune_patterns(tune) and set(tune) <= set(local_layers):
        yield f"what is trained ({', '.join(tune)}) stays at the hospitals, so that nothing would be learned together"
    for kind in local_layers:
        holds_kind = kind in tune or (kind == "head" and "lora" in tune) or tune_patterns(tune)
        if not holds_kind:
            yield (
                f"the layers of kind {kind!r} stay at the hospitals and would not be trained there; add {kind!r} to 'tune', or "
                f"share them"
            )
    if strategy == "moon" and tune == ("head",):
        yield "'moon' compares what comes before the head, which does not change where the head alone is trained; add 'lora'"
    if norm == "batch-frozen" and "norm" in tune:
        yield "'batch-frozen' normalisation is never trained, as the study says of it; leave 'norm' out"
    if norm == "batch" and "norm" in tune and "norm" not in local_layers:
        yield "statistics of 'batch' normalisation cannot be averaged over hospitals; leave 'norm' out, and they are frozen"
