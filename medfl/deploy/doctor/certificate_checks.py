"""Check of a certificate: it exists, and is valid for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from medfl.deploy.doctor.check_result import CheckResult

_WARN_BEFORE = timedelta(days=30)


def check_certificate(path: Path, name: str, fix: str, now: datetime | None = None) -> CheckResult:
    """Check that a certificate exists and is valid for a while.

    Parameters
    ----------
    path : Path
        PEM file.
    name : str
        What the result calls it.
    fix : str
        Instructions for getting a new one.
    now : datetime, optional
        The time, UTC.
    """
    now = now or datetime.now(UTC)
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return CheckResult("CERTIFICATE", "error", f"{name.capitalize()} is missing, or cannot be read.", fix)
    end = certificate.not_valid_after_utc
    if now > end:
        return CheckResult("CERTIFICATE", "error", f"{name.capitalize()} expired on {end:%Y-%m-%d}.", fix)
    if now < certificate.not_valid_before_utc:
        what = f"{name.capitalize()} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC."
        return CheckResult("CERTIFICATE", "error", what, "Is the clock of this machine right?")
    if now > end - _WARN_BEFORE:
        return CheckResult("CERTIFICATE", "warning", f"{name.capitalize()} expires on {end:%Y-%m-%d}.", fix)
    return CheckResult("CERTIFICATE", "ok", f"{name.capitalize()} is valid until {end:%Y-%m-%d}.")
