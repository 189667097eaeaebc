"""The exceptions of medfl, the table of their codes, and what the server may read of an error at a hospital.

MedflError                 everything that medfl raises on purpose
├── ConfigError            a study or a site.toml is wrong; holds every problem, not only the first
├── DataError              a case, or a whole data folder, cannot be used
│   └── DiskFullError      there was no space to write prepared data or a run
├── ExchangeError          arrays that do not fit the model of the study
├── TrainingError          a loss or a weight became not-a-number, or there is nothing to train on
├── QuorumError            too few hospitals answered for a round to count
├── RunError               a run folder cannot be written, read or found
├── PolicyError            a hospital's policy refuses a study, a request of the server, or what would leave
├── StoppedError           work ended early, because the run was stopped or took longer than the hospital allows
├── DeployError            a federation cannot be set up, started or reached
├── AuditError             a log of exchanges was changed after it was written
└── EngineError            the simulation engine could not be started, or lost its workers

``codes.toml``, beside this module, is the table of all codes of errors and findings. It is read when a code is first looked up.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

_TABLE = Path(__file__).with_name("codes.toml")
_DETAILS_STAY = "The details are in the log of the site."


class MedflError(Exception):
    """Base of everything that medfl raises on purpose.

    Parameters
    ----------
    code : str
        Short stable name of the problem, upper case, for example ``"NII-TRUNCATED"``. It may leave the hospital.
    what : str
        What is wrong, in plain English. It stays where it was raised: it never goes to the server.
    fix : str
        What to do about it.
    case : str
        Pseudonym of the case concerned, empty when the problem is not about one case.
    """

    def __init__(self, code: str, what: str, fix: str = "", case: str = "") -> None:
        super().__init__(code, what, fix, case)
        self.code, self.what, self.fix, self.case = code, what, fix, case

    def __str__(self) -> str:
        subject = f" {self.case}:" if self.case else ""
        return f"[{self.code}]{subject} {self.what} {self.fix}".rstrip()


@dataclass(frozen=True)
class Problem:
    """One mistake in a configuration file.

    Parameters
    ----------
    file : str
        Name of the file, as the user gave it.
    key : str
        Dotted key, spelled as in the file.
    what : str
        The value, and what is allowed.
    fix : str
        What to do, for example the nearest valid name.
    """

    file: str
    key: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.what} {self.fix}".rstrip()


class ConfigError(MedflError):
    """A study or a ``site.toml`` is wrong.

    Parameters
    ----------
    problems : sequence of Problem
        All mistakes, in the order of the file.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("CONFIG", "\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)

    def __str__(self) -> str:
        return self.what


class DataError(MedflError):
    """A case, or a whole data folder, cannot be used."""


class DiskFullError(DataError):
    """There is no space left to write."""


class ExchangeError(MedflError):
    """Arrays that do not fit the model of the study."""


class TrainingError(MedflError):
    """Training cannot go on: a value became not-a-number, or there is nothing to train on."""


class QuorumError(MedflError):
    """Too few hospitals answered for a round to count."""


class RunError(MedflError):
    """A run folder cannot be written, read or found."""


class PolicyError(MedflError):
    """A hospital's policy refuses something."""


class StoppedError(MedflError):
    """Work was stopped before its end."""


class DeployError(MedflError):
    """A federation cannot be set up, started or reached."""


class AuditError(MedflError):
    """A log of exchanges was changed after it was written."""


class EngineError(MedflError):
    """The simulation engine could not be started, or lost its workers."""


@dataclass(frozen=True)
class Code:
    """One entry of the table of codes.

    Parameters
    ----------
    name : str
        The code, for example ``"NII-TRUNCATED"``.
    section : str
        Heading under which docs/findings.md lists it.
    meaning : str
        What it means: one sentence for people, without any data.
    fix : str
        What to do about it.
    leaves : {"code", "sentence", "nothing"}
        What leaves a site: the code alone, or its meaning with it. ``"nothing"`` marks what is raised at the server or in a
        command, where people read the error's own message.
    """

    name: str
    section: str
    meaning: str
    fix: str
    leaves: Literal["code", "sentence", "nothing"]


@functools.cache
def load_codes() -> Mapping[str, Code]:
    """Return the table of codes by name, in the order of its sections."""
    return {
        name: Code(name, section["title"], meaning, fix, section["leaves"])
        for section in _read_table()["section"]
        for name, (meaning, fix) in section["codes"].items()
    }


def explain_code(code: str) -> str:
    """Return what a code means, in one plain sentence.

    Examples
    --------
    >>> explain_code("NII-TRUNCATED"), explain_code("NII-OF-A-LATER-VERSION")
    ('The file ends early.', 'A problem of the NIfTI file.')
    """
    if entry := load_codes().get(code):
        return entry.meaning
    meaning: str = _read_table()["prefixes"].get(code.partition("-")[0], "See the log of the site.")
    return meaning


@functools.cache
def _read_table() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))


def safe_reason(error: BaseException) -> str:
    """Return what the server may read about an error that happened at a hospital.

    Only the code of an error that medfl raised itself leaves, with a sentence that depends on the code alone. The text of an
    exception may hold a path, a name or a value of a header, so any other error is reported only as having happened.

    Parameters
    ----------
    error : BaseException
        The error, as raised.

    Returns
    -------
    str
        One line without any text of the error itself.

    Examples
    --------
    >>> safe_reason(DataError("NII-TRUNCATED", "the file ends early", "Copy it again.", "case-AB"))
    '[NII-TRUNCATED] The details are in the log of the site.'
    >>> safe_reason(FileNotFoundError("/data/DOE_JANE/1.dcm"))
    '[SITE-ERROR] The details are in the log of the site.'
    """
    return safe_sentence(error.code if isinstance(error, MedflError) else "SITE-ERROR")


def safe_sentence(code: str) -> str:
    """Return the one sentence that may leave a hospital for a code: always the same, whatever happened.

    Examples
    --------
    >>> safe_sentence("POLICY-HOURS")
    '[POLICY-HOURS] The site does not work at this hour.'
    """
    try:
        entry = load_codes().get(code)
    except OSError:  # no file can be opened any more, which may be the very error that is being reported
        entry = None
    return f"[{code}] {entry.meaning if entry and entry.leaves == 'sentence' else _DETAILS_STAY}"


def code_in(reason: str) -> str:
    """Return the code that a reason begins with.

    Examples
    --------
    >>> code_in("[NODE-LOST] The node is no longer connected.")
    'NODE-LOST'
    """
    return reason.partition("]")[0].lstrip("[")
