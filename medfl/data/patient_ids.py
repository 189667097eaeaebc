"""Ids of patients as DICOM has them: a PatientID is unique only together with its issuer."""

from __future__ import annotations

ISSUER_SEPARATOR = "\x1e"  # ASCII record separator: no PatientID can hold it (VR LO), while a bar may be part of one


def join_issuer(number: str, issuer: str) -> str:
    """Return one text for a PatientID with its issuer; the number alone where no issuer is named.

    Examples
    --------
    >>> join_issuer("17", ""), split_issuer(join_issuer("A|B", "C"))
    ('17', ('A|B', 'C'))
    """
    number = number.replace(ISSUER_SEPARATOR, "")
    return f"{number}{ISSUER_SEPARATOR}{issuer}" if number and issuer else number


def split_issuer(patient: str) -> tuple[str, str]:
    """Return the number of a patient and its issuer, which is empty for ids of other origin."""
    number, _, issuer = patient.partition(ISSUER_SEPARATOR)
    return number, issuer
