"""How hospitals come into a run: at its start, or later, each under the name that its key was enrolled with."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from medfl.data.simulated_sites import read_simulated_sites
from medfl.errors import ExchangeError, QuorumError, code_in
from medfl.messages import counts, records
from medfl.messages.exchange import NO_REPLY, NOT_CONNECTED
from medfl.messages.records import MetricValue
from medfl.messages.replies import describe_error, describe_refusal, read_metrics
from medfl.runs.run_folder import Run
from medfl.server.federation import Federation
from medfl.site import SITE_NAME_PATTERN
from medfl.study import Study

_POLL = 0.2  # seconds between looks for further nodes
_MIN_PAUSE, _MAX_PAUSE = 0.05, 1.0  # seconds between looks for answers


def join_sites(grid: Grid, study: Study, run: Run, expected: int, layout: str) -> Federation:
    """Wait for the hospitals, ask each who it is, and record what each brings and who is missing.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    study : Study
        What is learnt.
    run : Run
        Where everything is recorded.
    expected : int
        Nodes to wait for, at most for the time that the study allows; see `count_expected_sites`.
    layout : str
        Hash of the layout of the model (`records.layout_hash`); a site whose network differs cannot take part.

    Returns
    -------
    Federation

    Raises
    ------
    QuorumError
        ``TOO-FEW-SITES`` when fewer than the quorum came or could say who they are; it names who is missing. ``SITE-TWICE``
        when two nodes claim one name.
    """
    _record_missing(grid, study, run, expected)
    nodes = wait_for_nodes(grid, expected, study.strategy.wait)
    door = SiteJoiner(grid, study, run, layout)
    federation = Federation(grid, study, run, {}, door)
    door.query(nodes)
    door.wait_for_replies(study.strategy.deadline, federation.sites)
    missing = sorted(set(study.server.enrolled) - set(federation.sites.values()))
    for site in (site for site in missing if site not in door.refused):
        run.history.append({"event": "absent", "site": site, "during": "join", "reason": NOT_CONNECTED})
    door.has_started = True
    if len(federation.sites) < study.quorum:
        why = dict.fromkeys(missing, NOT_CONNECTED) | door.refused
        asked = max(expected, len(nodes))
        names = f" Missing: {', '.join(f'{site} ({code_in(reason)})' for site, reason in sorted(why.items()))}." if why else ""
        raise QuorumError(
            "TOO-FEW-SITES",
            f"{len(federation.sites)} of {asked} sites can take part; the study asks for {study.quorum}.{names}",
            "More than the code stands in the sites' own logs.",
        )
    return federation


class SiteJoiner:
    """Where sites come in: each is asked who it is, at the start or when it comes later.

    Parameters
    ----------
    grid, study, run, layout
        As of `assemble`.

    Attributes
    ----------
    refused : dict of str to str
        Who could not be taken in, with the reason: names of their keys, or ``node-<k>`` where those are not known.
    has_started : bool
        Whether the run has begun: then one who cannot be taken in is left out, and no reason to end the run.
    """

    def __init__(self, grid: Grid, study: Study, run: Run, layout: str) -> None:
        self._grid, self._study, self._run, self._layout = grid, study, run, layout
        self.refused: dict[str, str] = {}
        self.has_started = False
        self._pending: dict[int, str] = {}  # node that has not answered yet -> identifier of the message that asked it
        self._labels: dict[int, str] = {}
        self._reasons: dict[int, str] = {}  # last one that was recorded

    def query(self, nodes: Iterable[int]) -> None:
        """Ask nodes who they are, but for those that have not answered yet."""
        new = [node for node in nodes if node not in self._pending]
        question = RecordDict({records.CONFIG: ConfigRecord({records.RUN: self._run.path.name})})
        messages = [Message(question, dst_node_id=node, message_type=records.JOIN) for node in new]
        for node, identifier in zip(new, self._grid.push_messages(messages) if messages else (), strict=True):
            if identifier:
                self._pending[node] = identifier
            self._labels.setdefault(node, f"node-{len(self._labels) + 1}")

    def poll(self, sites: dict[int, str]) -> None:
        """Take in who has answered by now; `sites`, the names by node, is added to."""
        for node, identifier in list(self._pending.items()):
            for reply in self._grid.pull_messages([identifier]):
                del self._pending[node]
                self._handle_reply(node, reply, sites)

    def wait_for_replies(self, seconds: float, sites: dict[int, str]) -> None:
        """Take in everybody who answers within a time; who does not is recorded, and may still come later."""
        end, pause = time.monotonic() + seconds, _MIN_PAUSE
        while self._pending and time.monotonic() < end:
            self.poll(sites)
            if self._pending and not getattr(self._grid, "waits_for_replies", False):
                time.sleep(pause := min(1.1 * pause, _MAX_PAUSE))
        for node in self._pending:
            self._record_failure(node, NO_REPLY)

    def admit(self, sites: dict[int, str]) -> None:
        """Let those in who came since the start, without waiting for anybody; who was refused may have seen to it by now."""
        self.query(node for node in self._grid.get_node_ids() if node not in sites)
        self.poll(sites)

    def _handle_reply(self, node: int, reply: Message, sites: dict[int, str]) -> None:
        if reply.has_error():
            self._record_failure(node, describe_error(reply.error))
            return
        try:
            name, event = _parse_join_reply(reply.content, self._layout, self._study)
            self._check_name(node, name)
            others = [other for other, known in sites.items() if known != name or self._is_connected(other, name)]
        except ExchangeError as refusal:
            self._record_failure(node, describe_refusal(refusal))
            return
        self._run.history.append(event)
        self.refused.pop(name, None)
        ordered = sorted([*((other, sites[other]) for other in others), (node, name)], key=lambda item: item[1])
        sites.clear()
        sites.update(ordered)

    def _is_connected(self, node: int, name: str) -> bool:
        """Say False of a node that is gone: the site has come back as another one, with a new key. Two at once cannot be."""
        if node not in set(self._grid.get_node_ids()):
            return False
        if not self.has_started:
            raise QuorumError("SITE-TWICE", f"two nodes say that they are {name!r}.", "Give every site.toml its own name.")
        raise ExchangeError("SITE-TWICE", "another node that is connected bears the name of this one.")

    def _check_name(self, node: int, name: str) -> None:
        """Hold what a site calls itself against the name that its key was enrolled with."""
        if self._study.server.enrolled and self._name_of_key(node) != name:
            raise ExchangeError("SITE-NAME-FOREIGN", "this node does not bear the name that its key was enrolled with.")

    def _name_of_key(self, node: int) -> str | None:
        return next((info.name for info in self._grid.get_nodes() if info.node_id == node), None)

    def _record_failure(self, node: int, reason: str) -> None:
        name = self._name_of_key(node) if self._study.server.enrolled else None
        self.refused[site := name or self._labels[node]] = reason
        if self._reasons.get(node) != reason:  # or every round would tell the same
            self._run.history.append({"event": "failed", "site": site, "during": "join", "reason": reason})
        self._reasons[node] = reason


def count_expected_sites(study: Study) -> int:
    """Return how many sites are waited for before the first round: all of a simulation, or as study and server say."""
    if study.simulation.data:
        return len(read_simulated_sites(study))
    return max(study.strategy.sites or len(study.server.enrolled), study.quorum)


def _record_missing(grid: Grid, study: Study, run: Run, expected: int) -> None:
    if study.server.enrolled and len(list(grid.get_node_ids())) < expected:
        missing = sorted(set(study.server.enrolled) - {info.name for info in grid.get_nodes()})
        run.history.append({"event": "waiting", "during": "join", "sites": missing, "seconds": study.strategy.wait})


def wait_for_nodes(grid: Grid, expected: int, seconds: float) -> list[int]:
    """Wait until so many nodes are connected, or the time is over, and return those that are."""
    end = time.monotonic() + seconds
    nodes = sorted(grid.get_node_ids())
    while len(nodes) < expected and time.monotonic() < end:
        time.sleep(_POLL)
        nodes = sorted(grid.get_node_ids())
    return nodes


def _parse_join_reply(content: RecordDict, layout: str, study: Study) -> tuple[str, dict[str, object]]:
    """Return the name that a site gives itself and the event that tells what it brings, or raise ExchangeError."""
    told = content.get(records.SITE)
    if not isinstance(told, ConfigRecord):
        raise ExchangeError("JOIN-UNREADABLE", "this node does not say who it is.")
    name = str(told.get("name", ""))
    if not re.fullmatch(SITE_NAME_PATTERN, name):
        raise ExchangeError("SITE-NAME", "the name of this site is none that a site may have.")
    if told.get(records.MODEL_HASH) != layout:
        raise ExchangeError("MODEL-MISMATCH", "The network of this site differs: another version of medfl or MONAI.")
    numbers = read_metrics(content)
    splits = ("train", "validation", "test")
    try:
        return name, {
            "event": "joined",
            "site": name,
            **{split: _require_int(numbers[f"join.{split}-patients"]) for split in splits},
            "cases": {split: _require_int(numbers[f"join.{split}-cases"]) for split in splits},
            "excluded": counts.from_text(str(told[records.EXCLUDED])),
            "warnings": counts.from_text(str(told["warnings"])),
            "patient-ids": told["patient-ids"] == "yes",
            "annotated": _annotated_classes(str(told.get(records.ANNOTATED, "")), study),
        }
    except (KeyError, ValueError):
        raise ExchangeError("JOIN-UNREADABLE", "what this site tells of its patients cannot be read.") from None


def _annotated_classes(text: str, study: Study) -> list[str]:
    """Return the names of the classes that somebody looked for at a site."""
    named = dict(enumerate(study.task.foreground, start=1))
    return [named[int(number)] for number in text.split(",") if number] or list(study.task.foreground)


def _require_int(value: MetricValue) -> int:
    if not isinstance(value, int):
        raise ValueError("no whole number")
    return value
