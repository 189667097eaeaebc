"""What study and site files have in common: frozen sections, lists written as text, and every problem told at once."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from medfl.errors import ConfigError, Problem


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Section(BaseModel):
    """One table of a TOML file: frozen, nothing unknown is let in, keys are spelled in kebab-case."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_kebab, populate_by_name=True, strict=True)


def _split(text: object) -> object:
    if not isinstance(text, str):
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _split_ints(text: object) -> object:
    parts = _split(text)
    return tuple(int(p) for p in parts) if isinstance(parts, tuple) else parts


def _split_floats(text: object) -> object:
    parts = _split(text)
    return tuple(float(p) for p in parts) if isinstance(parts, tuple) else parts


def _int_as_float(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


# Flower's run configuration holds no lists: a list is written as text with commas, "32,32,32".
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
Ints = Annotated[tuple[int, ...], BeforeValidator(_split_ints)]
Floats = Annotated[tuple[float, ...], BeforeValidator(_split_floats)]
Number = Annotated[float, BeforeValidator(_int_as_float)]

S = TypeVar("S", bound=Section)


def read_section(kind: type[S], values: Mapping[str, Any], file: str) -> S:
    """Validate a table and report everything that is wrong with it at once.

    Parameters
    ----------
    kind : type of Section
        What the table must be.
    values : mapping
        The table as read from TOML.
    file : str
        Name of the file, for the messages.

    Returns
    -------
    Section
        The frozen, validated object.

    Raises
    ------
    ConfigError
        With one problem for each wrong key, type, range or combination.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = [_problem(kind, dict(found), file) for found in error.errors(include_url=False)]
        raise ConfigError(problems) from None


def _problem(kind: type[Section], found: dict[str, Any], file: str) -> Problem:
    location = [str(part) for part in found["loc"]]
    valid = set(_keys_at(kind, location[:-1]))
    # pydantic puts the tag of a union into the location; it is no key of the file
    key = ".".join(_without_tags(kind, location))
    if found["type"] == "extra_forbidden":
        return Problem(file, key, "there is no such key here.", nearest(location[-1], valid))
    if found["type"] == "missing":
        return Problem(file, key, "this key is required and is missing.")
    if found["type"] in ("union_tag_invalid", "union_tag_not_found"):
        context = found.get("ctx", {})
        tags = sorted(t.strip().strip("'") for t in str(context.get("expected_tags", "")).split(","))
        came = str(context.get("tag", "nothing"))
        if found["type"] == "union_tag_not_found":
            return Problem(file, f"{key}.name", "this key is required and is missing.")
        return Problem(
            file, f"{key}.name", f"came {came!r}, allowed: {', '.join(tags)}.", nearest(came, set(tags), list_all=False)
        )
    message = str(found["msg"]).removeprefix("Value error, ")
    allowed = found.get("ctx", {}).get("expected")
    hint = (
        nearest(
            str(found["input"]), {a.strip().strip("'") for a in str(allowed).replace(" or ", ",").split(",")}, list_all=False
        )
        if allowed
        else ""
    )
    came = "" if found["type"] == "value_error" and isinstance(found["input"], dict) else f" (came {found['input']!r})"
    return Problem(file, key or "(whole file)", f"{message}{came}.", hint)


def nearest(name: str, valid: set[str], *, list_all: bool = True) -> str:
    """Say which of the valid names was probably meant.

    Examples
    --------
    >>> nearest("learnrate", {"learning-rate", "name"}, list_all=False)
    "Did you mean 'learning-rate'?"
    """
    close = difflib.get_close_matches(name, sorted(valid), n=1, cutoff=0.5)
    guess = f"Did you mean {close[0]!r}?" if close else ""
    listing = f"Valid keys here: {', '.join(sorted(valid))}." if list_all and valid else ""
    return f"{guess} {listing}".strip()


def _keys_at(kind: type[Section], location: list[str]) -> Iterator[str]:
    here: list[type[Section]] = [kind]
    for part in location:
        step: list[type[Section]] = []
        for section in here:
            fields = {_kebab(name): field for name, field in section.model_fields.items()}
            if part in fields:
                step += list(_sections_of(fields[part].annotation))
            elif any(part == _tag(section) for _ in [0]):
                step.append(section)
        here = step
    for section in here:
        yield from (_kebab(name) for name in section.model_fields)


def _tag(section: type[Section]) -> str:
    field = section.model_fields.get("name")
    literal = typing.get_args(field.annotation) if field else ()
    return str(literal[0]) if literal else ""


def _sections_of(annotation: object) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, Annotated):
        for part in typing.get_args(annotation):
            yield from _sections_of(part)


def _without_tags(kind: type[Section], location: list[str]) -> list[str]:
    kept: list[str] = []
    walked: list[str] = []
    for part in location:
        names = set(_keys_at(kind, walked))
        walked.append(part)
        is_tag = part not in names and part == (_tag_at(kind, walked) or None)
        if not is_tag:
            kept.append(part)
    return kept


def _tag_at(kind: type[Section], walked: list[str]) -> str:
    parents: list[type[Section]] = [kind]
    for part in walked[:-1]:
        parents = [
            s for p in parents for name, f in p.model_fields.items() if _kebab(name) == part for s in _sections_of(f.annotation)
        ]
    return next((_tag(p) for p in parents if _tag(p) == walked[-1]), "")
