"""Reference of all keys of a study: what each means, and what it may be, from the classes that read it."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from medfl.schema import Section
from medfl.study import network_options
from medfl.study.algorithms import ALGORITHMS
from medfl.study.run_settings import Server, Simulation
from medfl.study.study import Study

_MEANINGS = Path(__file__).with_name("keys.toml")
_LIMITS = {
    "ge": "at least {:g}",
    "gt": "above {:g}",
    "le": "at most {:g}",
    "lt": "below {:g}",
    "multiple_of": "a multiple of {:g}",
}
_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_NETWORK, _ALGORITHM, _OPTIONS = "network", ("strategy", "name"), "strategy.options"


@dataclass(frozen=True)
class Key:
    """One key of a study.

    Parameters
    ----------
    table : str
        Its table as a study writes it, ``"training"``; empty at the top of the study.
    name : str
        The key in that table.
    only : str
        Network or algorithm that has the key; empty: all.
    meaning : str
        What it means, with the unit.
    allowed : str
        What it may be, in words.
    required : bool
        Whether it must be given.
    default : str
        Its default as TOML; empty where it has none.
    example : str
        An example as TOML, where the form is not plain from the default; else empty.
    """

    table: str
    name: str
    only: str
    meaning: str
    allowed: str
    required: bool
    default: str
    example: str

    @property
    def full_name(self) -> str:
        """The key with its table, as ``--set`` takes it."""
        return f"{self.table}.{self.name}" if self.table else self.name


def list_keys(table: str | None = None) -> tuple[Key, ...]:
    """Return the keys of a study in the order in which they are documented.

    Parameters
    ----------
    table : str, optional
        Those of one table alone; empty for the top of the study.
    """
    return tuple(key for key in _all_keys() if table is None or key.table == table)


def list_tables() -> tuple[str, ...]:
    """Return the names of all tables, the top of the study, which has none, first."""
    return tuple(dict.fromkeys(key.table for key in _all_keys()))


@functools.cache
def _all_keys() -> tuple[Key, ...]:
    return tuple(_study_keys())


def _study_keys() -> Iterator[Key]:
    tables = {name: kind for name, field in Study.model_fields.items() if (kind := _section(field))}
    yield from _section_keys("", Study, skip=(*tables, _NETWORK), meanings="study")
    for name, kind in tables.items():
        if name == "training":
            yield from _network_keys()
        yield from _section_keys(name, kind, skip=("options",))
        if name == "strategy":
            yield from _option_keys()
    yield from _section_keys("simulation", Simulation)
    yield from _section_keys("server", Server)


def _network_keys() -> Iterator[Key]:
    kinds = (*get_args(network_options.SegmentationNetwork), *get_args(network_options.ClassificationNetwork))
    names = ", ".join(kind.model_fields["name"].default for kind in kinds)
    yield Key(_NETWORK, "name", "", _meaning(_NETWORK, "name")[0], f"one of {names}", True, "", "")
    yield from _section_keys(_NETWORK, network_options.NetworkOptions)
    for kind in kinds:
        name = kind.model_fields["name"].default
        yield from _section_keys(
            _NETWORK,
            kind,
            skip=("name", *network_options.NetworkOptions.model_fields),
            only=name,
            meanings=f"{_NETWORK}.{name}",
        )


def _option_keys() -> Iterator[Key]:
    for name, algorithm in ALGORITHMS.items():
        yield from _section_keys(_OPTIONS, algorithm.options, only=name)


def _section_keys(
    table: str, kind: type[Section], *, skip: tuple[str, ...] = (), only: str = "", meanings: str = ""
) -> Iterator[Key]:
    for attribute, field in kind.model_fields.items():
        if attribute in skip:
            continue
        name = field.alias or attribute
        meaning, example = _meaning(meanings or table, name)
        default = "" if field.is_required() else _as_toml(field.default)
        allowed = f"one of {', '.join(ALGORITHMS)}" if (table, name) == _ALGORITHM else _describe_allowed(field)
        yield Key(table, name, only, meaning, allowed, field.is_required(), default, example)


def _section(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _meaning(table: str, name: str) -> tuple[str, str]:
    """Return meaning and example of a key; one that is missing is a mistake of the program."""
    text: Any = _load_meanings()
    for part in (*table.split("."), name):
        text = text[part]
    meaning, example = text if isinstance(text, list) else (text, "")
    return meaning, example and _as_toml(example)


@functools.cache
def _load_meanings() -> dict[str, Any]:
    return tomllib.loads(_MEANINGS.read_text(encoding="utf-8"))


def _describe_allowed(field: FieldInfo) -> str:
    limits = [
        words.format(value)
        for part in _metadata(field)
        for key, words in _LIMITS.items()
        if (value := getattr(part, key, None)) is not None
    ]
    kind = field.description or _describe_kind(field.annotation)
    return ", ".join([kind, *dict.fromkeys(limits)])


def _metadata(field: FieldInfo) -> Iterator[Any]:
    for part in field.metadata:
        yield from getattr(part, "metadata", (part,))


def _describe_kind(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _describe_kind(arguments[0])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        return _describe_list(arguments[0])
    if origin in (Union, type(int | str)):
        return " or ".join(_describe_kind(each) for each in arguments if each is not type(None))
    return _KINDS.get(kind, "table")


def _describe_list(item: Any) -> str:
    if get_origin(item) is tuple and set(get_args(item)) == {int, Ellipsis}:
        return "levels in quotes with commas between them, each with a number for each axis and x between those"
    return f"{'names' if item is str else f'{_KINDS[item]}s'} in quotes, with commas between them"


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f'"{",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)}"'
    return "" if value is None else f'"{value}"'
