"""Places at which a log is not what it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChainBreak:
    """Place at which a log differs from what was written.

    Parameters
    ----------
    file : str
        Path of the log, as it was given.
    line : int
        Number of the line, 0 for the whole file.
    what : str
        What does not match.
    """

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"
