"""The exceptions of medfl, the table of their codes, and what the server may read of an error at a hospital."""

from medfl.errors.codes import Code, code_in, explain_code, explain_reason, fixes_of, load_codes, safe_reason, safe_sentence
from medfl.errors.exceptions import (
    AuditError,
    ConfigError,
    DataError,
    DeployError,
    DiskFullError,
    EngineError,
    ExchangeError,
    MedflError,
    PolicyError,
    Problem,
    QuorumError,
    RunError,
    StoppedError,
    TrainingError,
)

__all__ = [
    "AuditError",
    "Code",
    "ConfigError",
    "DataError",
    "DeployError",
    "DiskFullError",
    "EngineError",
    "ExchangeError",
    "MedflError",
    "PolicyError",
    "Problem",
    "QuorumError",
    "RunError",
    "StoppedError",
    "TrainingError",
    "code_in",
    "explain_code",
    "explain_reason",
    "fixes_of",
    "load_codes",
    "safe_reason",
    "safe_sentence",
]
