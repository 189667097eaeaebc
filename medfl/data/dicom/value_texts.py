"""Texts of header values as numbers: compared, and shown where they can be nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable


def parse_number(text: str) -> float | None:
    """Return the finite number in a text, or None when it is not one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_same_value(one: str, other: str) -> bool:
    """Return whether two texts mean the same value, as ``10`` and ``10.0`` do."""
    first, second = parse_number(one), parse_number(other)
    if first is None or second is None:
        return one.casefold() == other.casefold()
    return math.isclose(first, second, rel_tol=1e-5, abs_tol=1e-6)


def format_numbers(texts: Iterable[str], max_shown: int = 6) -> str:
    """Return the first few distinct numbers, to be shown; nothing when one is not a number, as it could be a name."""
    values: dict[float, str] = {}
    for text in texts:
        value = parse_number(text)
        if value is None:
            return ""
        values.setdefault(value, format_number(text))
    shown = [values[value] for value in sorted(values)]
    return ", ".join(shown[:max_shown]) + (", ..." if len(shown) > max_shown else "")


def format_number(text: str) -> str:
    """Return a number in a short form: ``10``, ``10.0`` or ``4.60123``."""
    value = float(text)
    if value == int(value) and abs(value) < 1e15:
        return f"{value:.1f}" if "." in text else str(int(value))
    return f"{value:.6g}"
