"""Verification of logs of exchanges: each in itself, and each against what the other side noted of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfl.audit.breaks import ChainBreak
from medfl.audit.chain import GENESIS_HASH, line_hash, read_chain
from medfl.audit.matching import describe_losses, find_unmatched
from medfl.audit.signed_lines import find_false_signatures
from medfl.errors import AuditError


@dataclass(frozen=True)
class Verification:
    """What was found in some logs.

    Parameters
    ----------
    breaks : tuple of ChainBreak
        Where a log is not what was written.
    strays : tuple of ChainBreak
        Messages that came and were not sent, or were received and had not left.
    notes : tuple of str
        What was lost on the way, and what could not be compared.
    """

    breaks: tuple[ChainBreak, ...]
    strays: tuple[ChainBreak, ...]
    notes: tuple[str, ...]


def find_breaks(paths: Iterable[Path]) -> list[ChainBreak]:
    """Return the breaks and the strays that `verify_logs` finds."""
    found = verify_logs(paths)
    return [*found.breaks, *found.strays]


def verify_logs(paths: Iterable[Path]) -> Verification:
    """Verify logs, each in itself, against what the others noted of it, and message by message.

    Parameters
    ----------
    paths : iterable of Path
        Logs of sites and of the server, in any order.

    Returns
    -------
    Verification
        Without breaks when all is as it was written, and without strays when nothing came that was not sent.

    Raises
    ------
    AuditError
        ``AUDIT-MISSING`` when a file does not exist.
    """
    breaks: list[ChainBreak] = []
    chains: dict[str, tuple[Path, list[dict[str, Any]]]] = {}
    for path in paths:
        try:
            lines = read_chain(path)
        except AuditError as error:
            if error.code == "AUDIT-MISSING":
                raise
            breaks.append(ChainBreak(str(path), 0, error.what))
            continue
        breaks += _find_own_breaks(path, lines)
        owner = str(lines[0].get("owner")) if lines else ""
        if owner in chains:
            breaks.append(ChainBreak(str(path), 0, f"it is another log of the owner of {chains[owner][0]}; give one of them."))
        elif lines:
            chains[owner] = (path, lines)
    for path, lines in chains.values():
        breaks += _find_cross_breaks(path, lines, chains)
        breaks += find_false_signatures(path, lines)
    return Verification(tuple(breaks), tuple(find_unmatched(chains)), tuple(describe_losses(chains)))


def _find_own_breaks(path: Path, lines: list[dict[str, Any]]) -> Iterator[ChainBreak]:
    """Yield the breaks of a chain in itself; after a break each line is compared with the line that now precedes it."""
    previous, before, owner = GENESIS_HASH, 0, lines[0].get("owner") if lines else None
    if path.read_bytes()[-1:] not in (b"", b"\n"):
        yield ChainBreak(
            str(path), len(lines) + 1, "the last line is not complete, as after a crash; the next entry cuts it off."
        )
    for number, line in enumerate(lines, 1):
        if line.get("hash") != _line_hash_or_empty(line):
            yield ChainBreak(str(path), number, "the line was changed after it was written.")
        elif line.get("previous") != previous or line.get("n") != before + 1:
            yield ChainBreak(str(path), number, "a line before this one was removed, added or moved.")
        elif line.get("owner") != owner:
            yield ChainBreak(str(path), number, "the line is from another log.")
        previous, before = str(line.get("hash")), line["n"] if isinstance(line.get("n"), int) else number


def _find_cross_breaks(
    path: Path, lines: list[dict[str, Any]], chains: Mapping[str, tuple[Path, list[dict[str, Any]]]]
) -> Iterator[ChainBreak]:
    """Yield the places at which another log differs from what this one noted of it."""
    latest: dict[str, int] = {}
    for line in lines:
        owner, number, digest = _parse_noted_head(line)
        if owner not in chains or number == 0:
            continue
        other, theirs = chains[owner]
        if number > len(theirs):
            yield ChainBreak(str(other), 0, f"its end was cut off: {path} noted its line {number}, and it has {len(theirs)}.")
        elif theirs[number - 1].get("hash") != digest:
            yield ChainBreak(str(other), number, f"the line is not the one that {path} noted.")
        elif number < latest.get(owner, 0):
            yield ChainBreak(str(path), int(line.get("n", 0)), f"it notes an older state of {other} than before.")
        latest[owner] = max(number, latest.get(owner, 0))


def _parse_noted_head(line: Mapping[str, Any]) -> tuple[str, int, str]:
    owner, _, rest = str(line.get("head", "")).partition(" ")
    number, _, digest = rest.partition(" ")
    return owner, int(number) if number.isdecimal() and number.isascii() else 0, digest


def _line_hash_or_empty(line: Mapping[str, Any]) -> str:
    try:
        return line_hash(line)
    except (TypeError, ValueError):
        return ""
