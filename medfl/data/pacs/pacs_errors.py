"""What can go wrong with a PACS, in words that name no host, address, UID or person."""

from __future__ import annotations

from medfl.errors import DataError

_TEXTS = {
    "PACS-AET": (
        "the PACS refused the association: {detail}.",
        "Have the PACS administrator enter medfl's AE title and address, and check ae-title and calling-ae-title.",
    ),
    "PACS-AUTH": ("the PACS refused the login ({detail}).", "Check user, password and what the user may see."),
    "PACS-BUSY": ("another pull into this data folder is running.", "Wait for it, or stop it."),
    "PACS-CREDENTIALS": ("{detail}.", "See docs/pacs.md."),
    "PACS-EXTRA-MISSING": ("the libraries that talk to a PACS are not installed.", "Install medfl[pacs]."),
    "PACS-HOURS": ("the PACS may be asked from {detail} o'clock only.", "Start again then, or change pacs.hours."),
    "PACS-INCOMPLETE": ("{detail}.", "Pull again; if it stays so, let the PACS administrator look at this series."),
    "PACS-LIST": ("{detail}.", "Write one number a line, without wildcards."),
    "PACS-LISTEN": (
        "medfl cannot listen at the address and port that move names.",
        "Name an address of this machine and a free port.",
    ),
    "PACS-REFUSED": ("the PACS did not do what it was asked: {detail}.", "Ask the PACS administrator what it allows."),
    "PACS-TLS": ("{detail}.", "Check ca-file, cert-file and key-file, and the certificate of the PACS."),
    "PACS-UNREACHABLE": (
        "there is no connection to the PACS, or it broke off.",
        "Check the address, the network and the firewall.",
    ),
    "PACS-WRITE": ("the images cannot be written to the data folder.", "Choose a data.root that you may write to."),
}
TRANSIENT_CODES = ("PACS-UNREACHABLE", "PACS-REFUSED", "PACS-INCOMPLETE")  # may be gone at the next attempt
SINGLE_SERIES_CODES = ("PACS-REFUSED", "PACS-INCOMPLETE")  # the next series may come all the same


class PullStopped(Exception):
    """The pull was told to stop. It is never seen outside of it."""


def pacs_error(code: str, detail: str = "", case: str = "") -> DataError:
    """Return the error for a code.

    Parameters
    ----------
    code : str
        One of the ``PACS-`` codes.
    detail : str
        What the text leaves open; never anything that the PACS said itself.
    case : str
        Pseudonym of the series concerned.
    """
    what, fix = _TEXTS[code]
    return DataError(code, what.format(detail=detail), fix, case)


def incomplete_error(arrived: int, expected: int, why: str = "") -> DataError:
    """Return the error for a series of which not all images came.

    Parameters
    ----------
    arrived, expected : int
        Numbers of images; `expected` is 0 when the PACS does not say.
    why : str
        How the transfer ended.
    """
    count = f"{arrived} of {expected} images arrived" if expected else f"{arrived} images arrived, and the transfer failed"
    return pacs_error("PACS-INCOMPLETE", f"{count} ({why})" if why else count)
