"""Keys of studies that have another place than before: how they are refused in a study, and followed in a record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from medfl.errors import Problem

MOVED_KEYS: Mapping[tuple[str, str], str] = MappingProxyType(
    {  # table and key as they were written before; the key at the top of the study today
        ("simulation", "arms"): "arms",
    }
)
MOVED_NAMES = frozenset(map(".".join, MOVED_KEYS))  # as a problem names them


def split_moved_keys(values: Mapping[str, Any], file: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return the tables of a study without keys that have moved, and a problem for each with the line to write instead.

    Parameters
    ----------
    values : mapping
        Nested tables, which stay as they are.
    file : str
        Name of the file, for the messages.
    """
    rest, moved = _split(values)
    return rest, [
        Problem(
            file,
            f"{table}.{key}",
            "this key has another place now.",
            f"Instead, write {MOVED_KEYS[table, key]} = {_as_toml(value)} in [tool.flwr.app.config].",
        )
        for (table, key), value in moved.items()
    ]


def follow_moved_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of a study that was recorded by an earlier version, with every key at its present place."""
    rest, moved = _split(values)
    return {MOVED_KEYS[place]: value for place, value in moved.items()} | rest


def _split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[tuple[str, str], Any]]:
    rest, moved = dict(values), {}
    for table, key in MOVED_KEYS:
        inside = rest.get(table)
        if isinstance(inside, Mapping) and key in inside:
            moved[table, key] = inside[key]
            rest[table] = {name: value for name, value in inside.items() if name != key}
    return rest, moved


def _as_toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | int | float | str) else "..."
