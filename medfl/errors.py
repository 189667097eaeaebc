"""The exceptions of medfl, and the one place that decides what a hospital's error may tell the server.

MedflError                 everything that medfl raises on purpose
├── ConfigError            a study or a site.toml is wrong; holds every problem found, not the first one
├── DataError              a case, or a whole data folder, cannot be used
│   └── DiskFullError      there was no room to write prepared data or a run
├── ExchangeError          arrays that do not fit the model of the study
├── TrainingError          a loss or a weight became not-a-number, or there is nothing to train on
├── QuorumError            too few hospitals answered for a round to count
├── RunError               a run folder cannot be written, read or found
├── PolicyError            a hospital's own terms say no: to a study, to a server's wish, to what would leave
├── StoppedError           work was broken off, because the run was stopped or took longer than the hospital allows
├── DeployError            a federation cannot be set up, started or reached
├── AuditError             a log of exchanges is not what was written
└── EngineError            the simulation engine could not be started, or lost its workers
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
    """One thing that is wrong in a configuration file.

    Parameters
    ----------
    file : str
        Name of the file, as the user gave it.
    key : str
        Dotted key, spelled as in the file.
    what : str
        What came and what is allowed.
    fix : str
        The way out, for example the nearest valid name.
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
        Everything that is wrong, in the order of the file.
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
    """There was no room left to write."""


class ExchangeError(MedflError):
    """Arrays that do not fit the model of the study."""


class TrainingError(MedflError):
    """Training cannot go on: not-a-number, or nothing to train on."""


class QuorumError(MedflError):
    """Too few hospitals answered for a round to count."""


class RunError(MedflError):
    """A run folder cannot be written, read or found."""


class PolicyError(MedflError):
    """A hospital's own terms say no."""


class StoppedError(MedflError):
    """Work was broken off before its end."""


class DeployError(MedflError):
    """A federation cannot be set up, started or reached."""


class AuditError(MedflError):
    """A log of exchanges is not what was written."""


class EngineError(MedflError):
    """The simulation engine could not be started, or lost its workers."""


def safe_reason(error: BaseException) -> str:
    """Return what the server may read about an error that happened at a hospital.

    Only the code of an error that medfl raised itself leaves, with a sentence that depends on the code alone. The text of an
    exception may hold a path, a name or a value of a header, so of any other all that is told is that something failed.

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
    return f"[{code}] {REFUSALS.get(code, 'The details are in the log of the site.')}"


def code_in(reason: str) -> str:
    """Return the code that a reason begins with.

    Examples
    --------
    >>> code_in("[NODE-LOST] The node is no longer connected.")
    'NODE-LOST'
    """
    return reason.partition("]")[0].lstrip("[")


# What the server reads of a refusal. The same words stand in docs/findings.md.
REFUSALS = {
    "ARM-FOREIGN": "The server asks for a kind of training that the study does not have.",
    "BUNDLE-CODE": "The bundle holds more than configuration and text.",
    "BUNDLE-COMPONENTS": "The bundle names other apps than those of medfl, or packages to install.",
    "BUNDLE-DAMAGED": "The bundle cannot be read.",
    "BUNDLE-SIMULATION": "The bundle says how to simulate hospitals.",
    "OVERRIDE-REFUSED": "The run changes the study that the site approved.",
    "POLICY-BYTES": "The reply is larger than the site lets out.",
    "POLICY-EPOCHS": "There are more local epochs than the site allows.",
    "POLICY-EXTENSION": "The site does not run this algorithm.",
    "POLICY-HOURS": "The site does not work at this hour.",
    "POLICY-METRICS": "The site does not tell what a reply needs.",
    "POLICY-MINUTES": "The work took longer than the site allows.",
    "POLICY-MODALITY": "The site does not take part in studies of this modality.",
    "POLICY-PATIENTS": "The site has fewer patients than it asks of itself.",
    "POLICY-PROTECTION": "The study lacks a protection that the site asks for.",
    "POLICY-QUORUM": "The study may go on with fewer sites than this site asks for.",
    "POLICY-ROUNDS": "There are more rounds than the site allows.",
    "POLICY-STEPS": "There are more local steps than the site allows.",
    "POLICY-TASK": "The site does not take part in studies of this kind.",
    "RUN-STOPPED": "The site broke off, as the run is over.",
    "STUDY-NOT-APPROVED": "The site has not approved this study.",
}
