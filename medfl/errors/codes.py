"""The codes of all errors and findings, and what the server may read of an error at a hospital.

The table is ``codes.toml``, beside this module; it is read when a code is first looked up.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medfl.errors.exceptions import MedflError

_TABLE = Path(__file__).with_name("codes.toml")
_DETAILS_STAY = "The details are in the log of the site."


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
    table = _read_table()
    prefix = code.partition("-")[0]
    meaning: str = table["retired"].get(code) or table["prefixes"].get(prefix, "See the log of the site.")
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
    >>> from medfl.errors import DataError
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


def explain_reason(reason: str) -> str:
    """Return a reason with the meaning of its code, where a site sent the code alone.

    Examples
    --------
    >>> explain_reason("[NII-TRUNCATED] The details are in the log of the site.")
    '[NII-TRUNCATED] The file ends early.'
    >>> explain_reason("[NODE-LOST] The node is no longer connected.")
    '[NODE-LOST] The node is no longer connected.'
    """
    return f"[{code_in(reason)}] {explain_code(code_in(reason))}" if reason.endswith(_DETAILS_STAY) else reason


def fixes_of(reasons: Iterable[str]) -> str:
    """Return what to do about these reasons, each sentence once; empty where no code is known.

    Examples
    --------
    >>> fixes_of(["[SITE-TWICE] Two nodes say that they are 'a'.", "no code"])
    'Give every site.toml its own name.'
    """
    known = (load_codes().get(code_in(reason)) for reason in reasons)
    return " ".join(dict.fromkeys(code.fix for code in known if code))


def code_in(reason: str) -> str:
    """Return the code that a reason begins with.

    Examples
    --------
    >>> code_in("[NODE-LOST] The node is no longer connected.")
    'NODE-LOST'
    """
    return reason.partition("]")[0].lstrip("[")
