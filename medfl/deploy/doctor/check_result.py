"""Result of a check: one line, with what to do when something is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class CheckResult:
    """Result of one check.

    Parameters
    ----------
    code : str
        Short stable name of what was checked, for example ``"DISK"``.
    level : {"ok", "warning", "error"}
        "error": a study cannot run, or would not be safe.
    what : str
        What was found.
    fix : str
        What to do; empty when all is well.
    """

    code: str
    level: Level
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"[{self.code}] {self.what} {self.fix}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """Return the result as a dictionary for JSON."""
        return asdict(self)


def grade(code: str, value: float, warn: float, fail: float, what: str, fix: str) -> CheckResult:
    """Grade a quantity of which more is better.

    Parameters
    ----------
    code, what, fix
        Code, problem and remedy, as in `CheckResult`.
    value : float
        The quantity that was found.
    warn, fail : float
        A value below them is a warning, or an error.

    Examples
    --------
    >>> grade("DISK", 3.0, 5.0, 1.0, "3 GB are free.", "Free some space.").level
    'warning'
    """
    level: Level = "error" if value < fail else "warning" if value < warn else "ok"
    return CheckResult(code, level, what, "" if level == "ok" else fix)
