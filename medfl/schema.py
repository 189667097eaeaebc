"""Tables of settings: how they are read, checked and refused."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from medfl.errors import ConfigError, Problem
from medfl.errors.validation import InconsistentError, closest, describe_invalid, did_you_mean, split_listing, suggest_key

_WHOLE_FILE = "(whole file)"  # in place of a key
_MAX_MENDS = 3


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Section(BaseModel):
    """A table of a TOML file: frozen, without unknown keys, keys spelled in kebab-case."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=_kebab, populate_by_name=True, strict=True)


def _split(text: object) -> object:
    if not isinstance(text, str):
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _to_pairs(table: object) -> object:
    return tuple((key, value) for key, value in table.items()) if isinstance(table, dict) else table


def _split_ints(text: object) -> object:
    return _parse_numbers(text, int, 'whole numbers with commas between them, as "32,32,32"')


def _split_floats(text: object) -> object:
    return _parse_numbers(text, float, 'numbers with commas between them, as "1.5,1.5,3"')


def _parse_numbers(text: object, kind: type[int] | type[float], wanted: str) -> object:
    parts = _split(text)
    if not isinstance(parts, tuple):
        if isinstance(text, list):
            return parts
        raise ValueError(f"needs {wanted}, in quotes")
    try:
        numbers = tuple(kind(part) for part in parts)
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"needs {wanted}")
    return numbers


def _check_positive(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if any(number < 1 for number in numbers):
        raise ValueError("every number must be at least 1")
    return numbers


def _split_levels(text: object) -> object:
    parts = _split(text)
    if not isinstance(text, str) or not isinstance(parts, tuple):
        return parts
    try:
        return tuple(tuple(int(number) for number in part.split("x")) for part in parts)
    except ValueError:
        raise ValueError('needs one number per axis for each level, as "1x1x1, 1x2x2, 2x2x2"') from None


def _check_levels(levels: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    if len({len(level) for level in levels}) > 1:
        raise ValueError("every level needs the same count of numbers, one per axis")
    for level in levels:
        _check_positive(level)
    return levels


def _int_as_float(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


# Flower's run configuration holds no lists: a list is written as text with commas, "32,32,32".
Strings = Annotated[tuple[str, ...], BeforeValidator(_split)]
Ints = Annotated[tuple[int, ...], BeforeValidator(_split_ints)]
Sizes = Annotated[Ints, AfterValidator(_check_positive)]
Levels = Annotated[  # of a network, one number per axis in each: "1x1x1, 1x2x2, 2x2x2"
    tuple[tuple[int, ...], ...], BeforeValidator(_split_levels), AfterValidator(_check_levels)
]
Floats = Annotated[tuple[float, ...], BeforeValidator(_split_floats)]
NameMap = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_to_pairs)]  # a table of names, {theirs = "ours"}; hashable
Options = Annotated[  # a table of plain values, validated by another part of the program; hashable
    tuple[tuple[str, bool | int | float | str], ...], BeforeValidator(_to_pairs), PlainSerializer(dict)
]
Number = Annotated[float, BeforeValidator(_int_as_float), Field(allow_inf_nan=False)]

S = TypeVar("S", bound=Section)


def read_section(kind: type[S], values: Mapping[str, Any], file: str, *, table: str = "", beside: Iterable[str] = ()) -> S:
    """Validate a table, and report all of its problems at once.

    Parameters
    ----------
    kind : type of Section
        The section that the table must be.
    values : mapping
        The table as read from TOML.
    file : str
        Name of the file, for the messages.
    table : str, optional
        Name of the table in that file; the top of the file unless given.
    beside : iterable of str, optional
        Further keys that are valid beside those of the section, and are read by others.

    Returns
    -------
    Section
        The frozen, validated object.

    Raises
    ------
    ConfigError
        If the table is invalid, with one problem for each wrong key, type, range or combination.
    """
    if not isinstance(values, Mapping):
        raise ConfigError([Problem(file, table or _WHOLE_FILE, f"this must be a table (came {values!r}).")])
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = list(_all_problems(kind, values, error.errors(include_url=False), file, beside))
        raise ConfigError([_in_table(table, problem) for problem in problems] if table else problems) from None


def _all_problems(
    kind: type[Section], values: Mapping[str, Any], found: Sequence[ErrorDetails], file: str, beside: Iterable[str]
) -> Iterator[Problem]:
    """Yield the problems of single values, then of others that do not fit together."""
    known = [problem for details in found for problem in _problems(kind, details, file, beside)]
    yield from known
    unknown = {problem.key for problem in known}
    for _ in range(_MAX_MENDS):  # what is right for one network is not for another that stands in for a misspelt one
        unknown |= {stand_in for details in found if isinstance(stand_in := _stand_in(details), str)}
        values = _mend(kind, values, found)
        try:
            kind.model_validate(values)
        except ValidationError as error:
            found = error.errors(include_url=False)
        else:
            return
        if inconsistent := [d["ctx"]["error"] for d in found if isinstance(d.get("ctx", {}).get("error"), InconsistentError)]:
            told = [(key, what) for error in inconsistent for key, what in error.problems]
            # what is said of a value must not rest on one that stands in for a wrong one
            yield from (Problem(file, k or _WHOLE_FILE, f"{what}.") for k, what in told if not _names(f"{k} {what}", unknown))
            return


def _names(text: str, keys: Iterable[str]) -> bool:
    """Return whether a text names any of these words or dotted keys, or the table whose name is one of them."""
    return any(re.search(rf"(?<![\w.-]){re.escape(key.removesuffix('.name'))}(?![\w-])", text) for key in keys)


def _mend(kind: type[Section], values: Mapping[str, Any], found: Sequence[ErrorDetails]) -> dict[str, Any]:
    """Return the table with something valid instead of what is wrong by itself, or without it, so that its default counts."""
    mended = dict(values)
    for details in found:
        location = _without_tags(kind, [str(part) for part in details["loc"]])
        *tables, last = [*location, "name"] if details["type"] == "union_tag_invalid" else location or [""]
        inside = mended
        for table in tables:  # copied on the way alone: the rest may be nested too deeply to be copied
            if not isinstance(inside.get(table), dict):
                break
            inside[table] = inside = dict(inside[table])
        else:
            inside.pop(last, None)
            inside |= {last: stand_in} if (stand_in := _stand_in(details)) is not None else {}
    return mended


def _stand_in(found: ErrorDetails) -> object:
    """Return a valid value in place of a wrong one; None where its default must do."""
    context = found.get("ctx", {})
    match found["type"]:
        case "greater_than_equal" | "less_than_equal":
            return context.get("ge", context.get("le"))
        case "int_type" | "int_from_float":
            return 1
        case "string_pattern_mismatch":
            return "a"
        case "literal_error":
            return closest(str(found["input"]), split_listing(context["expected"]))
        case "union_tag_invalid":
            return closest(str(context["tag"]), split_listing(context["expected_tags"]))
    return None


def _in_table(table: str, problem: Problem) -> Problem:
    return replace(problem, key=table if problem.key == _WHOLE_FILE else f"{table}.{problem.key}")


def _problems(kind: type[Section], found: ErrorDetails, file: str, beside: Iterable[str]) -> list[Problem]:
    inconsistent = found.get("ctx", {}).get("error")
    if isinstance(inconsistent, InconsistentError):
        table = ".".join(_without_tags(kind, [str(part) for part in found["loc"]]))
        keys = [".".join(filter(None, (table, key))) or _WHOLE_FILE for key, _ in inconsistent.problems]
        return [Problem(file, key, f"{what}.") for key, (_, what) in zip(keys, inconsistent.problems, strict=True)]
    return [_problem(kind, found, file, beside)]


def _problem(kind: type[Section], found: ErrorDetails, file: str, beside: Iterable[str]) -> Problem:
    location = [str(part) for part in found["loc"]]
    *tables, last = location or [""]
    key = ".".join(_without_tags(kind, location))
    context = found.get("ctx", {})
    match found["type"]:
        case "extra_forbidden":
            valid = _keys_at(kind, tables) | set(() if tables else beside)
            return Problem(file, key, "there is no such key here.", suggest_key(last, valid))
        case "missing":
            return Problem(file, key, "this key is required and is missing.")
        case "union_tag_not_found":
            return Problem(file, f"{key}.name", "this key is required and is missing.")
        case "union_tag_invalid":
            tags, came = split_listing(context["expected_tags"]), str(context["tag"])
            return Problem(file, f"{key}.name", f"came {came!r}, allowed: {', '.join(sorted(tags))}.", did_you_mean(came, tags))
        case "literal_error" | "enum":
            allowed = split_listing(context["expected"])
            came = found["input"]
            hint = did_you_mean(came, allowed) if isinstance(came, str) else ""  # digits in common mean nothing
            return Problem(file, key, f"came {came!r}, allowed: {', '.join(sorted(allowed))}.", hint)
        case "value_error":
            message = str(context["error"])
        case reason:
            message = describe_invalid(reason, context, _form(kind, tables, last), found["input"])
    came = "" if isinstance(found["input"], dict) else f" (came {found['input']!r})"
    return Problem(file, key or _WHOLE_FILE, f"{message}{came}.")


def _form(kind: type[Section], tables: list[str], key: str) -> str:
    """Return the form that a text must have, in words: the description of its field."""
    fields = [f for section in _sections_at(kind, tables) for name, f in section.model_fields.items() if _kebab(name) == key]
    return next((field.description for field in fields if field.description), "")


def _keys_at(kind: type[Section], location: list[str]) -> set[str]:
    return {_kebab(name) for section in _sections_at(kind, location) for name in section.model_fields}


def _sections_at(kind: type[Section], location: list[str]) -> list[type[Section]]:
    """Return the sections that may stand at a location; after the tag of a union, the one that it names."""
    sections = [kind]
    for part in location:
        inner = [
            s
            for section in sections
            for name, f in section.model_fields.items()
            if _kebab(name) == part
            for s in _field_sections(f)
        ]
        sections = inner or [section for section in sections if _union_tag(section) == part]
    return sections


def _without_tags(kind: type[Section], location: list[str]) -> list[str]:
    """Return a location without the tags of unions, which pydantic puts in though they are not keys of the file."""
    return [
        part
        for k, part in enumerate(location)
        if part in _keys_at(kind, location[:k]) or part not in {_union_tag(s) for s in _sections_at(kind, location[:k])}
    ]


def _union_tag(section: type[Section]) -> str:
    field = section.model_fields.get("name")
    return str(field.default) if field and typing.get_origin(field.annotation) is typing.Literal else ""


def _field_sections(field: FieldInfo) -> Iterator[type[Section]]:
    return _sections_of(field.annotation)


def _sections_of(annotation: object) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, Annotated):
        for part in typing.get_args(annotation):
            yield from _sections_of(part)
