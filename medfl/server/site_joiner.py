"""Joining of sites, at the start of a run or later: each says who it is and what it brings."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid

from medfl.errors import ExchangeError, QuorumError, code_in
from medfl.grids.grid_wrapper import GridWrapper, pull_replies
from medfl.messages import counts, records
from medfl.messages.exchange import NO_REPLY
from medfl.messages.records import MetricValue
from medfl.messages.replies import describe_error, describe_refusal, read_metrics
from medfl.runs.run_folder import Run
from medfl.site import SITE_NAME_PATTERN
from medfl.study import Study, StudyApp

_BEYOND = "[TOO-MANY-SITES] The run has as many sites as each of them approved."
# At a hospital, a question that it looked at its data for counts: it may do so a few times a day (`medfl.privacy.ledger`)
COUNTED_CODES = frozenset({"NOT-ANSWERED", "SITE-TOO-SMALL", "SITE-EXCLUDED", "POLICY-PATIENTS", "JOIN-LIMIT"})
_MIN_REST, _MAX_REST = 60.0, 7200.0  # seconds until such a hospital is asked again: twice as long each time; others: the first
_MIN_PAUSE, _MAX_PAUSE = 0.05, 1.0  # seconds between two polls for answers


class SiteJoiner:
    """Ask nodes who they are, and add the sites that may take part in the run.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    run : Run
        Names the study; its history gets an event for each site that joined or failed to.
    layout : str
        Hash of the model (`records.model_hash`); a site whose network differs cannot take part.
    start : ArrayRecord, optional
        The whole first model, of a study that sends it as sites join.
    external : dict of int to str, optional
        The mapping that gets the external hospitals of a simulation instead of that of the sites; a new one unless given.

    Attributes
    ----------
    refused : dict of str to str
        Why nodes could not join, by the name that their key was enrolled with, or ``node-<k>`` where there is none.
    has_started : bool
        Whether the rounds have begun: from then on a site that cannot join is left out, and does not end the run.
    """

    def __init__(
        self, grid: Grid, run: Run, layout: str, start: ArrayRecord | None = None, external: dict[int, str] | None = None
    ) -> None:
        self._grid, self._run, self._layout = grid, run, layout
        self._start = {} if start is None else {records.START: start}
        self._external = {} if external is None else external
        self._has_enrolled = bool(run.app.server.enrolled)
        self.refused: dict[str, str] = {}
        self.has_started = False
        self._waits_itself = isinstance(grid, GridWrapper) and grid.waits_for_replies
        self._pending: dict[int, str] = {}  # identifier of the message to each node that has not answered yet
        self._labels: dict[int, str] = {}
        self._reasons: dict[int, str] = {}  # the last one that was recorded of each node
        self._rests: dict[int, tuple[float, float]] = {}  # of nodes that could not join: until when, how long after such a code

    def query(self, nodes: Iterable[int]) -> None:
        """Ask nodes who they are, except those whose answer is still awaited."""
        new = [node for node in nodes if node not in self._pending]
        question = RecordDict({records.CONFIG: ConfigRecord({records.RUN: self._run.path.name}), **self._start})
        messages = [Message(question, dst_node_id=node, message_type=records.JOIN) for node in new]
        for node, identifier in zip(new, self._grid.push_messages(messages) if messages else (), strict=True):
            if identifier:
                self._pending[node] = identifier
            self._labels.setdefault(node, f"node-{len(self._labels) + 1}")

    def poll(self, sites: dict[int, str]) -> None:
        """Add the sites that have answered by now to `sites`, the names by node."""
        nodes = {identifier: node for node, identifier in self._pending.items()}
        for identifier, found in pull_replies(self._grid, nodes):
            del self._pending[nodes[identifier]]
            self._handle_reply(nodes[identifier], found.pop(), sites)

    def wait_for_replies(self, seconds: float, sites: dict[int, str]) -> None:
        """Add the sites that answer within a time; one that does not is recorded, and may still join later."""
        end, pause = time.monotonic() + seconds, _MIN_PAUSE
        while self._pending and time.monotonic() < end:
            self.poll(sites)
            if self._pending and not self._waits_itself:
                time.sleep(pause := min(1.1 * pause, _MAX_PAUSE))
        for node in self._pending:
            self._record_failure(node, NO_REPLY)

    def admit(self, sites: dict[int, str]) -> None:
        """Add the sites that came since the last call, without waiting.

        Those that were refused are asked again: at once, or after a while where the whole first model goes with the question,
        or where a hospital has to look at its data for it.
        """
        now = time.monotonic()
        resting = {node for node, (until, _) in self._rests.items() if until > now}
        known = {*sites, *self._external, *resting}
        new = [node for node in self._grid.get_node_ids() if node not in known]
        beyond = {node for node in new if self._is_beyond(node, sites)}
        for node in sorted(beyond):
            self._record_failure(node, _BEYOND)
        self.query(node for node in new if node not in beyond)
        self.poll(sites)

    def _handle_reply(self, node: int, reply: Message, sites: dict[int, str]) -> None:
        if reply.has_error():
            reason = describe_error(reply.error)
            self._let_rest(node, code_in(reason))
            self._record_failure(node, reason, self._simulated_name(reply.error))
            return
        try:
            name, event = _parse_join_reply(reply.content, self._layout, self._run.app)
            event |= {"bytes-down": self._start[records.START].count_bytes()} if self._start else {}
            self._check_name(node, name)
            sites = self._external if name in self._run.study.evaluation.external else sites
            others = [other for other, known in sites.items() if known != name or self._is_connected(other, name)]
        except ExchangeError as refusal:
            self._let_rest(node, refusal.code)
            self._record_failure(node, describe_refusal(refusal))
            return
        self._run.history.append(event)
        self.refused.pop(name, None)
        ordered = sorted([*((other, sites[other]) for other in others), (node, name)], key=lambda item: item[1])
        sites.clear()
        sites.update(ordered)

    def _let_rest(self, node: int, code: str) -> None:
        """Leave a hospital alone for a while that looked at its data, and any to which a whole model went for nothing."""
        last = self._rests.get(node, (0.0, _MIN_REST / 2))[1]
        if self._has_enrolled and code in COUNTED_CODES:
            rest = min(2 * last, _MAX_REST)
            self._rests[node] = time.monotonic() + rest, rest
        elif self._start:
            self._rests[node] = time.monotonic() + _MIN_REST, last

    def _is_beyond(self, node: int, sites: Mapping[int, str]) -> bool:
        """Say whether a site would be one more than each site approved; it is not asked then, as a question counts there."""
        limit = self._run.study.site_limit
        return self._has_enrolled and limit is not None and len({*sites.values(), self._name_of_key(node)}) > limit

    def _is_connected(self, node: int, name: str) -> bool:
        """Return False when a node is gone, as when its site came back with a new key; two nodes of one name are an error."""
        if node not in set(self._grid.get_node_ids()):
            return False
        if not self.has_started:
            raise QuorumError("SITE-TWICE", f"two nodes say that they are {name!r}.", "Give every site.toml its own name.")
        raise ExchangeError("SITE-TWICE", "another connected node has the same name as this one.")

    def _check_name(self, node: int, name: str) -> None:
        """Raise ``SITE-NAME-FOREIGN`` unless a site gives the name that its key was enrolled with."""
        if self._has_enrolled and self._name_of_key(node) != name:
            raise ExchangeError(
                "SITE-NAME-FOREIGN", "this node gives another name than the one that its key was enrolled with."
            )

    def _name_of_key(self, node: int) -> str | None:
        return next((info.name for info in self._grid.get_nodes() if info.node_id == node), None)

    def _simulated_name(self, error: Error) -> str | None:
        """Return the name that a simulated site puts before the reason of its error."""
        named = re.match(rf"(?P<name>{SITE_NAME_PATTERN.strip('^$')}): \[", error.reason or "")
        return named["name"] if named and self._run.app.simulated_sites else None

    def _record_failure(self, node: int, reason: str, simulated_name: str | None = None) -> None:
        name = self._name_of_key(node) if self._has_enrolled else simulated_name
        self.refused[site := name or self._labels[node]] = reason
        if self._reasons.get(node) != reason:  # or every round would record the same again
            self._run.history.append({"event": "failed", "site": site, "during": "join", "reason": reason})
        self._reasons[node] = reason


def _parse_join_reply(content: RecordDict, layout: str, app: StudyApp) -> tuple[str, dict[str, object]]:
    """Return the name of a site and the event that records what it brings, or raise ExchangeError."""
    site = content.get(records.SITE)
    if not isinstance(site, ConfigRecord):
        raise ExchangeError("JOIN-UNREADABLE", "this node does not say who it is.")
    name = str(site.get("name", ""))
    if not re.fullmatch(SITE_NAME_PATTERN, name):
        raise ExchangeError("SITE-NAME", "the name that this node gives is not a valid name of a site.")
    told, _, frozen = str(site.get(records.MODEL_HASH)).partition(":")
    if (told, frozen) != tuple(layout.partition(":")[::2]):
        if told == layout.partition(":")[0]:
            raise ExchangeError("FROZEN-MISMATCH", "The part of the network that is not trained has other values at this site.")
        raise ExchangeError("MODEL-MISMATCH", "The network of this site differs: another version of medfl or MONAI.")
    numbers = read_metrics(content)
    splits = ("train", "validation", "test")
    try:
        return name, {
            "event": "joined",
            "site": name,
            **({"external": True} if name in app.study.evaluation.external else {}),
            **{split: _require_int(numbers[f"join.{split}-patients"]) for split in splits},
            "cases": {split: _require_int(numbers[f"join.{split}-cases"]) for split in splits},
            "excluded": counts.from_text(str(site[records.EXCLUDED])),
            "warnings": counts.from_text(str(site["warnings"])),
            "patient-ids": site["patient-ids"] == "yes",
            "annotated": _annotated_classes(str(site.get(records.ANNOTATED, "")), app.study),
            **(_simulated_data(site, app.study) if app.is_simulation else {}),
        }
    except (KeyError, ValueError, IndexError):
        raise ExchangeError("JOIN-UNREADABLE", "the counts that this site reports cannot be read.") from None


def _simulated_data(site: ConfigRecord, study: Study) -> dict[str, object]:
    """Return what a simulated site tells of its data beyond what leaves a hospital, or raise ValueError."""
    classes = [study.task.classes[int(number)] for number in str(site[records.PRESENT]).split(",") if number]
    left_out, usable = (int(str(site[name])) for name in (records.LEFT_OUT, records.USABLE))
    digest = str(site[records.DATA_DIGEST])
    if min(left_out, usable) < 0 or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("neither a count nor a digest")
    told = {"left-out": left_out, "usable": usable, "classes": classes, "data": digest}
    images = {"images": str(site[records.IMAGES]).split(",")} if study.evaluation.external else {}
    return {"simulated": told | images}


def _annotated_classes(text: str, study: Study) -> list[str]:
    """Return the names of the classes that are annotated at a site."""
    names = dict(enumerate(study.task.foreground, start=1))
    return [names[int(number)] for number in text.split(",") if number] or list(study.task.foreground)


def _require_int(value: MetricValue) -> int:
    if not isinstance(value, int):
        raise ValueError("not a whole number")
    return value
