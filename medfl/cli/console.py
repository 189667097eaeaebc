"""Output of commands: results to standard output, problems to standard error."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from typing import Any

from rich.console import Console


class PlainConsole(Console):
    """A console that prints text as it is: brackets are no markup, and what is not a terminal gets whole lines."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, soft_wrap: bool | None = None, **how: Any) -> None:
        """Print as `rich.console.Console.print`; text is not wrapped unless a person looks at it."""
        if soft_wrap is None and not self.is_terminal and all(isinstance(each, str) for each in objects):
            soft_wrap = True
        super().print(*objects, soft_wrap=soft_wrap, **how)


output = PlainConsole()
errors = PlainConsole(stderr=True)


_SPELLINGS = dict(zip("’‘“”–—−×", "''\"\"---x", strict=True)) | {
    "…": "...",
    "±": "+/-",
    "≥": ">=",
    "≤": "<=",
    "✓": "ok",
    "✗": "X",
}
_HANDLER = "medfl.spell"


def print_json(values: Any) -> None:
    """Print a value as JSON to standard output, in a form that every encoding can hold; what is not a number becomes null."""
    from medfl.runs.history import to_json_value

    encoding = (output.encoding or "").lower().replace("-", "")
    output.print_json(data=to_json_value(values), ensure_ascii=encoding != "utf8")


def spell_unencodable() -> None:
    """Let both streams spell what their encoding cannot hold (ASCII in cron jobs and containers) instead of failing."""
    codecs.register_error(_HANDLER, _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_SPELLINGS.get(letter) or _without_accents(letter) for letter in text), error.end


def _without_accents(letter: str) -> str:
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"
