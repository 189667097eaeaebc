"""Findings: what a site learns about its data, as a code with the words and the remedy that belong to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from medfl.errors import MedflError

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Why a case was left out, or what to know about it.

    Readers raise a `DataError` about a case that cannot be used, and return a finding about one that can.

    Parameters
    ----------
    code : str
        Stable name of the problem; the only part that may leave the hospital, with a count.
    case : str
        Pseudonym of the case, or empty when the finding is about the whole site, or a reader does not know the case.
    what, fix : str
        What is wrong and what to do about it, without a path, name, date or header value.
    level : {"error", "warning"}
        An error leaves the case out.
    """

    code: str
    case: str
    what: str
    fix: str
    level: Level = "error"

    @classmethod
    def warning(cls, code: str, what: str, fix: str) -> Self:
        """Make a warning about whatever is being read; `of_case` names the case later."""
        return cls(code, "", what, fix, "warning")

    @classmethod
    def from_error(cls, error: MedflError, case: str = "", level: Level = "error") -> Self:
        """Make a finding of an error that a reader raised about a case."""
        return cls(error.code, case or error.case, error.what, error.fix, level)

    def of_case(self, name: str) -> Self:
        """Return the same finding about the case of a pseudonym."""
        return replace(self, case=name)

    def __str__(self) -> str:
        subject = f" {self.case}:" if self.case else ""
        return f"[{self.code}]{subject} {self.what} {self.fix}".rstrip()
