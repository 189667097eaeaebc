"""The exceptions of medfl.

MedflError                 everything that medfl raises on purpose
├── ConfigError            a study or a site.toml is wrong; holds every problem, not only the first
├── DataError              a case, or a whole data folder, cannot be used
│   └── DiskFullError      there was no space to write prepared data or a run
├── ExchangeError          arrays that do not fit the model of the study
├── TrainingError          a loss or a weight became not-a-number, or there is nothing to train on
├── QuorumError            too few hospitals answered for a round to count
├── RunError               a run folder cannot be written, read or found
├── PolicyError            a hospital's policy refuses a study, a request of the server, or what would leave
├── SecureAggregationError a step of secure aggregation would show more than the sum, or is not of the protocol
├── StoppedError           work ended early, because the run was stopped or took longer than the hospital allows
├── DeployError            a federation cannot be set up, started or reached
├── AuditError             a log of exchanges was changed after it was written
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


class SecureAggregationError(MedflError):
    """A step of secure aggregation is refused."""


class StoppedError(MedflError):
    """Work was stopped before its end."""


class DeployError(MedflError):
    """A federation cannot be set up, started or reached."""


class AuditError(MedflError):
    """A log of exchanges was changed after it was written."""


class EngineError(MedflError):
    """The simulation engine could not be started, or lost its workers."""
