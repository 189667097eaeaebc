"""Reasons for which a key or a value of a table of settings is refused, in plain English, and what was probably meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WORDS = {  # by pydantic's names of the reasons; its own sentences are for programmers
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "multiple_of": "must be a multiple of {multiple_of:g}",
    "finite_number": "must be a finite number",
    "int_type": "needs a whole number",
    "int_from_float": "needs a whole number",
    "int_parsing": "needs a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "needs a number",
    "float_parsing": "needs a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "needs a text in quotes",
    "string_too_short": "needs at least {min_length} letters",
    "string_too_long": "has more than {max_length} letters",
    "tuple_type": 'needs a text with commas, as "1,2,3"',
    "list_type": "needs a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "mapping_type": "must be a table",
    "too_short": "has too few parts, needs {min_length}",
    "too_long": "has too many parts, {max_length} at most",
    "recursion_loop": "refers to itself",
}


class InconsistentError(ValueError):
    """Values that are valid one by one, and do not fit together; raised by validators of a whole section.

    Parameters
    ----------
    problems : sequence of (str, str)
        Dotted key, empty for the section itself, and what is wrong.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {what}" if key else what for key, what in problems))
        self.problems = tuple(problems)


def describe_invalid(reason: str, context: Mapping[str, Any], form: str = "", value: object = None) -> str:
    """Return why a value is refused.

    Parameters
    ----------
    reason : str
        Name of the reason, as pydantic's ``type`` has it.
    context : mapping
        What belongs to it, such as a limit.
    form : str
        For a text of the wrong form: what it should be.
    value : object, optional
        What came.

    Returns
    -------
    str
        A part of a sentence, without a full stop. It never holds a regular expression, nor the name of a type of Python.

    Examples
    --------
    >>> describe_invalid("greater_than_equal", {"ge": 1})
    'must be at least 1'
    """
    if reason == "string_pattern_mismatch":
        return f"must be {form}" if form else "does not have the form that is needed here"
    if reason == "tuple_type" and isinstance(value, list) and all(isinstance(part, str | int | float) for part in value):
        return f"needs a text with commas, not a list: write {json.dumps(', '.join(map(str, value)))}"
    try:
        return _WORDS.get(reason, "is not a value that is allowed here").format(**context)
    except (KeyError, ValueError):
        return "is not a value that is allowed here"


def split_listing(listing: str) -> set[str]:
    """Return the words of a list as "'a', 'b' or 'c'"."""
    return {word.strip().strip("'") for word in listing.replace(" or ", ",").split(",")}


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return a hint at the valid name that was probably meant, or nothing.

    Examples
    --------
    >>> did_you_mean("learnrate", {"learning-rate", "name"})
    "Did you mean 'learning-rate'?"
    """
    close = closest(name, valid)
    return f"Did you mean {close!r}?" if close else ""


def closest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that was probably meant, None where none is close."""
    return next(iter(difflib.get_close_matches(name, sorted(valid), n=1, cutoff=0.5)), None)


def suggest_key(name: str, valid: Iterable[str]) -> str:
    """Return a hint at the valid name that was probably meant, and a list of all."""
    names = sorted(valid)
    return f"{did_you_mean(name, names)} Valid keys here: {', '.join(names) or 'none'}.".strip()
