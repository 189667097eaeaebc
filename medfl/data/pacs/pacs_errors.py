"""Errors of a PACS; their texts name no host, address, UID or person."""

from __future__ import annotations

from medfl.errors import DataError
from medfl.system.text import plural

_TEXTS = {
    "PACS-AET": (
        "the PACS refused the association: {detail}.",
        "Ask the PACS administrator to register medfl's AE title and address, and check ae-title and calling-ae-title.",
    ),
    "PACS-AUTH": ("the PACS refused the login ({detail}).", "Check user, password and the user's permissions."),
    "PACS-BUSY": ("another pull into this data folder is running.", "Wait for it, or stop it."),
    "PACS-CREDENTIALS": ("{detail}.", "See docs/pacs.md."),
    "PACS-EXTRA-MISSING": ("the libraries that talk to a PACS are not installed.", "Install flwr-medfl[pacs]."),
    "PACS-HOURS": ("the PACS may only be used from {detail} o'clock.", "Start again then, or change pacs.hours."),
    "PACS-INCOMPLETE": ("{detail}.", "Pull again; if it happens again, ask the PACS administrator to look at this series."),
    "PACS-LIST": ("{detail}.", "Write one number per line, without wildcards."),
    "PACS-LISTEN": (
        "medfl cannot listen at the address and port given by move.",
        "Give an address of this machine and a free port.",
    ),
    "PACS-NOT-STORED": (
        "the PACS did not store an object: {detail}.",
        "Ask the PACS administrator whether medfl may store, and objects of this kind.",
    ),
    "PACS-OBJECT": ("{detail}.", "Send predictions as DICOM-SEG or SR, each file once."),
    "PACS-REFUSED": ("the PACS refused the request: {detail}.", "Ask the PACS administrator what it allows."),
    "PACS-TLS": ("{detail}.", "Check ca-file, cert-file and key-file, and the certificate of the PACS."),
    "PACS-UNREACHABLE": (
        "the PACS cannot be reached, or the connection broke.",
        "Check the address, the network and the firewall.",
    ),
    "PACS-WRITE": ("the images cannot be written to the data folder.", "Choose a data.root that you can write to."),
}
TRANSIENT_CODES = ("PACS-UNREACHABLE", "PACS-REFUSED", "PACS-INCOMPLETE")  # may succeed at the next attempt
SINGLE_SERIES_CODES = ("PACS-REFUSED", "PACS-INCOMPLETE")  # other series may succeed all the same


class PullStopped(Exception):
    """Signal that the pull was stopped; it never leaves the pull."""


class ServiceNotOffered(DataError):
    """Error of a PACS that accepted none of what an association asked for."""


def service_error() -> ServiceNotOffered:
    """Return the ``PACS-REFUSED`` of a PACS that does not offer what was asked for."""
    error = pacs_error("PACS-REFUSED", "it does not offer this service (C-FIND, C-GET, C-MOVE or C-STORE)")
    return ServiceNotOffered(error.code, error.what, error.fix)


def pacs_error(code: str, detail: str = "", case: str = "") -> DataError:
    """Return the error for a code.

    Parameters
    ----------
    code : str
        One of the ``PACS-`` codes.
    detail : str
        Fills the gap in the text; never anything that the PACS itself said.
    case : str
        Pseudonym of the series concerned.
    """
    what, fix = _TEXTS[code]
    return DataError(code, what.format(detail=detail), fix, case)


def incomplete_error(arrived: int, expected: int, why: str = "") -> DataError:
    """Return the error for a series of which not all images arrived.

    Parameters
    ----------
    arrived, expected : int
        Numbers of images; `expected` is 0 when the PACS does not say.
    why : str
        How the transfer ended.
    """
    count = (
        f"{arrived} of {expected} images arrived"
        if expected
        else f"{plural(arrived, 'image')} arrived, and the transfer failed"
    )
    return pacs_error("PACS-INCOMPLETE", f"{count} ({why})" if why else count)
