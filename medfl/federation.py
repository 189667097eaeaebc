"""The hospitals that take part in a run, and how the server asks them something."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from medfl import counts, metrics, records
from medfl.errors import ExchangeError, QuorumError
from medfl.records import Metrics, MetricValue
from medfl.runs.folder import Run
from medfl.site import NAME
from medfl.strategies.replies import NO_REPLY, error_text, metrics_in, node_asked, refusal_text
from medfl.study import Study

_POLL = 0.2  # seconds between looks for further nodes


@dataclass(frozen=True)
class Federation:
    """The sites that joined, by node, and what is needed to talk to them.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    study : Study
        What is learnt.
    run : Run
        Where everything is recorded.
    sites : dict of int to str
        Name of the site behind each node that joined.
    """

    grid: Grid
    study: Study
    run: Run
    sites: dict[int, str]

    def evaluate(
        self,
        model: ArrayRecord | Mapping[str, ArrayRecord],
        split: str,
        arm: str,
        after: int,
        *,
        own_folder: bool = False,
        trial: bool = False,
    ) -> dict[str, Metrics]:
        """Have every site score a model on one of its splits.

        Parameters
        ----------
        model : ArrayRecord, or mapping of str to ArrayRecord
            The model, or one for each site by its name; a site without one is not asked.
        split : {"validation", "test"}
            Which patients.
        arm : str
            Arm of the comparison that the model belongs to.
        after : int
            The round that was done last: what a site remembers is as that round left it.
        own_folder : bool
            Let simulated sites leave example images and scores by patient in the run folder.
        trial : bool
            Whether the model only serves to weigh contributions, so that sites remember nothing of it.

        Returns
        -------
        dict of str to dict
            Metrics by site, in the order of the names; a site that failed, did not answer in time, or sent metrics that are
            not what the study asks for is missing here and recorded in the history.
        """
        run = self.run.path.name
        config = ConfigRecord({records.SPLIT: split, records.ARM: arm, records.ROUND: after, records.RUN: run})
        if own_folder:
            config[records.RUN_FOLDER] = str(self.run.path)
        if trial:
            config[records.TRIAL] = True
        if isinstance(model, ArrayRecord):
            contents = dict.fromkeys(self.sites, RecordDict({records.ARRAYS: model, records.CONFIG: config}))
        else:
            asked = {node: model[site] for node, site in self.sites.items() if site in model}
            made = {id(a): RecordDict({records.ARRAYS: a, records.CONFIG: config}) for a in asked.values()}
            contents = {node: made[id(a)] for node, a in asked.items()}  # one object for all that get the same model
        answers: dict[str, Metrics] = {}
        for node, answer in self.ask(MessageType.EVALUATE, contents):
            if isinstance(answer, str):
                self.failed(self.sites[node], split, answer)
                continue
            try:
                told = metrics_in(answer)
                metrics.check(self.study, told)
                if split == "test" and arm != "local" and self.study.has_personal_models:
                    metrics.check(self.study, metrics.personal_part(told))
            except ExchangeError as refusal:
                self.failed(self.sites[node], split, refusal_text(refusal))
                continue
            answers[self.sites[node]] = told
        return dict(sorted(answers.items()))

    def ask(self, message_type: str, contents: Mapping[int, RecordDict]) -> Iterator[tuple[int, RecordDict | str]]:
        """Send messages and yield what became of each as it comes: what the node answered, or why there is no answer.

        Parameters
        ----------
        message_type : str
            Of all messages.
        contents : mapping of int to RecordDict
            What each node is sent. One that has not answered by the deadline of the study comes last, with the reason.
        """
        return ask(self.grid, message_type, contents, self.study.strategy.deadline)

    def failed(self, site: str, during: str, reason: str) -> None:
        """Record that a site could not do its part."""
        self.run.history.append({"event": "failed", "site": site, "during": during, "reason": reason})


def ask(
    grid: Grid, message_type: str, contents: Mapping[int, RecordDict], deadline: float
) -> Iterator[tuple[int, RecordDict | str]]:
    """Send messages and yield what became of each, as `Federation.ask` does.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    message_type, contents
        As of `Federation.ask`.
    deadline : float
        Seconds for all answers.
    """
    messages = [Message(content, dst_node_id=node, message_type=message_type) for node, content in contents.items()]
    silent = set(contents)
    for reply in grid.send_and_receive(messages, timeout=deadline):
        node = node_asked(reply, messages)
        if node not in silent:
            continue
        silent.remove(node)
        yield node, error_text(reply.error) if reply.has_error() else reply.content
    yield from ((node, NO_REPLY) for node in contents if node in silent)


def assemble(grid: Grid, study: Study, run: Run, expected: int, layout: str) -> Federation:
    """Wait for the hospitals, ask each who it is, and record what each brings.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    study : Study
        What is learnt.
    run : Run
        Where everything is recorded.
    expected : int
        Nodes to wait for, at most for the time that the study allows.
    layout : str
        Hash of the layout of the model (`records.layout_hash`); a site whose network differs can not take part.

    Returns
    -------
    Federation

    Raises
    ------
    QuorumError
        ``TOO-FEW-SITES`` when fewer than the quorum came or could say who they are; ``SITE-TWICE`` when two nodes claim
        one name.
    """
    nodes = wait_for_nodes(grid, expected, study.strategy.wait)
    everyone = Federation(grid, study, run, {node: f"node-{k}" for k, node in enumerate(nodes, start=1)})
    joined: dict[int, str] = {}
    question = RecordDict({records.CONFIG: ConfigRecord({})})
    for node, answer in everyone.ask(records.JOIN, dict.fromkeys(everyone.sites, question)):
        if isinstance(answer, str):
            everyone.failed(everyone.sites[node], "join", answer)
            continue
        try:
            name, event = _introduction(answer, layout, study)
        except ExchangeError as refusal:
            everyone.failed(everyone.sites[node], "join", refusal_text(refusal))
            continue
        if name in joined.values():
            raise QuorumError("SITE-TWICE", f"two nodes say that they are {name!r}.", "Give every site.toml its own name.")
        joined[node] = name
        run.history.append(event)
    if len(joined) < study.strategy.quorum:
        raise QuorumError(
            "TOO-FEW-SITES",
            f"{len(joined)} of {len(nodes)} sites can take part; the study asks for {study.strategy.quorum}.",
            "The reasons of the others are in the history of the run, and in the sites' own logs.",
        )
    ordered = dict(sorted(joined.items(), key=lambda item: item[1]))
    return Federation(grid, study, run, ordered)


def wait_for_nodes(grid: Grid, expected: int, seconds: float) -> list[int]:
    """Wait until so many nodes are connected, or the time is over, and return those that are."""
    end = time.monotonic() + seconds
    nodes = sorted(grid.get_node_ids())
    while len(nodes) < expected and time.monotonic() < end:
        time.sleep(_POLL)
        nodes = sorted(grid.get_node_ids())
    return nodes


def _introduction(content: RecordDict, layout: str, study: Study) -> tuple[str, dict[str, object]]:
    """Return the name that a site gives itself and the event that tells what it brings, or raise ExchangeError."""
    told = content.get(records.SITE)
    if not isinstance(told, ConfigRecord):
        raise ExchangeError("JOIN-UNREADABLE", "this node does not say who it is.")
    name = str(told.get("name", ""))
    if not re.fullmatch(NAME, name):
        raise ExchangeError("SITE-NAME", "the name of this site is none that a site may have.")
    if told.get(records.MODEL_HASH) != layout:
        raise ExchangeError("MODEL-MISMATCH", "The network of this site differs: another version of medfl or MONAI.")
    numbers = metrics_in(content)
    splits = ("train", "validation", "test")
    try:
        return name, {
            "event": "joined",
            "site": name,
            **{split: _whole(numbers[f"join.{split}-patients"]) for split in splits},
            "cases": {split: _whole(numbers[f"join.{split}-cases"]) for split in splits},
            "excluded": counts.from_text(str(told[records.EXCLUDED])),
            "warnings": counts.from_text(str(told["warnings"])),
            "patient-ids": told["patient-ids"] == "yes",
            "annotated": _annotated(str(told.get(records.ANNOTATED, "")), study),
        }
    except (KeyError, ValueError):
        raise ExchangeError("JOIN-UNREADABLE", "what this site tells of its patients can not be read.") from None


def _annotated(text: str, study: Study) -> list[str]:
    """Return the names of the classes that somebody looked for at a site."""
    named = dict(enumerate(study.task.foreground, start=1))
    return [named[int(number)] for number in text.split(",") if number] or list(study.task.foreground)


def _whole(value: MetricValue) -> int:
    if not isinstance(value, int):
        raise ValueError("no whole number")
    return value
