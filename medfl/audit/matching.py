"""Comparison of two sides' logs: each message that came was sent, and each answer that was received had left.

What was sent and did not come, or left and was not received, was lost on the way, as when a machine ended: that is told
and no fault. A message that came and that no server logged was never the server's, or was hidden by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medfl.audit.breaks import ChainBreak
from medfl.system.text import join_words, plural

_SERVER = "server:"  # owner of a server's log of a run: server:RUN

Line = dict[str, Any]
Logs = Mapping[str, tuple[Path, list[Line]]]


def find_unmatched(logs: Logs) -> Iterator[ChainBreak]:
    """Yield each message of one side's log that the other's does not hold.

    Parameters
    ----------
    logs : mapping of str to (Path, list of dict)
        Logs by their owners.
    """
    for owner, (path, lines) in logs.items():
        if owner.startswith(_SERVER):
            yield from _find_unknown_answers(owner, path, lines, logs)
        else:
            yield from _find_unknown_messages(owner, path, lines, logs)


def describe_losses(logs: Logs) -> list[str]:
    """Return in words what was lost on the way, and what could not be compared as the other side's log was not given."""
    notes = []
    for site in (owner for owner in logs if not owner.startswith(_SERVER)):
        lines = logs[site][1]
        servers = {owner: logs[owner][1] for owner in logs if owner.startswith(_SERVER)}
        unread = Counter(_server_of(line) for line in _select(lines, "came") if _server_of(line) not in logs)
        if runs := sorted(owner.removeprefix(_SERVER) for owner in unread if owner):
            notes.append(
                f"{plural(unread.total(), 'message')} to {site} were not compared: give the server's log of {join_words(runs)}."
            )
        exchanged = [line for log in servers.values() for line in log if line.get("site") == site]
        runs_given = {owner.removeprefix(_SERVER) for owner in servers}
        own = [line for line in lines if str(line.get("run", "")) in runs_given]
        lost = _count(_select(exchanged, "sent")) - _count(_select(own, "came"))
        unheard = _count(_select(own, "left")) - _count(_select(exchanged, "received"))
        if lost:
            notes.append(f"{plural(lost.total(), 'message')} of the server did not come to {site}.")
        if unheard:
            notes.append(f"{plural(unheard.total(), 'answer')} of {site} did not come to the server.")
    return notes


def _find_unknown_messages(site: str, path: Path, lines: Iterable[Line], logs: Logs) -> Iterator[ChainBreak]:
    sent = {
        owner: _count(line for line in _select(server, "sent") if line.get("site") == site)
        for owner, (_, server) in logs.items()
        if owner.startswith(_SERVER)
    }
    for line in _select(lines, "came"):
        refused = "" if line.get("decision") == "accepted" else f" It was refused: {line.get('decision')}."
        owner = _server_of(line)
        if not owner:
            what = f"a message came that does not say which log of the server holds it.{refused}"
            yield ChainBreak(str(path), _number(line), what)
        elif owner in sent and not _take(sent[owner], line):
            what = f"a message came that {logs[owner][0]} does not hold as sent.{refused}"
            yield ChainBreak(str(path), _number(line), what)


def _find_unknown_answers(server: str, path: Path, lines: Iterable[Line], logs: Logs) -> Iterator[ChainBreak]:
    run = server.removeprefix(_SERVER)
    left = {
        owner: _count(line for line in _select(site, "left") if str(line.get("run", run)) == run)
        for owner, (_, site) in logs.items()
        if not owner.startswith(_SERVER)
    }
    for line in _select(lines, "received"):
        site = str(line.get("site", ""))
        if "error" in line or site not in left:
            continue
        refused = f" It was refused: {line['decision']}." if "decision" in line else ""
        if not _take(left[site], line):
            what = f"an answer of {site} was received that {logs[site][0]} does not hold.{refused}"
            yield ChainBreak(str(path), _number(line), what)


def _select(lines: Iterable[Line], event: str) -> list[Line]:
    return [line for line in lines if line.get("event") == event and "error" not in line]


def _count(lines: Iterable[Line]) -> Counter[str]:
    return Counter(map(_identity, lines))


def _take(counted: Counter[str], line: Line) -> bool:
    """Take one message of this content out of those counted; return whether there was one."""
    identity = _identity(line)
    if counted[identity] <= 0:
        return False
    counted[identity] -= 1
    return True


def _identity(line: Line) -> str:
    """Return what a message is recognised by on both sides: kind, run, round, the hash of each record, and the signature."""
    records = line.get("records")
    hashes = [(r.get("name"), r.get("sha256"), r.get("more")) for r in records if isinstance(r, dict)] if records else []
    return repr((line.get("type"), line.get("run"), line.get("round"), hashes, line.get("signature") or ""))


def _server_of(line: Line) -> str:
    owner = str(line.get("head", "")).partition(" ")[0]
    return owner if owner.startswith(_SERVER) else ""


def _number(line: Line) -> int:
    return line["n"] if isinstance(line.get("n"), int) else 0
