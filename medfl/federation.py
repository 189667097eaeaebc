"""The hospitals that take part in a run, and how the server asks them something."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from medfl import records
from medfl.errors import QuorumError
from medfl.records import Metrics
from medfl.runs.folder import Run
from medfl.strategies.replies import error_text
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

    def evaluate(self, arrays: ArrayRecord, split: str, arm: str, *, own_folder: bool = False) -> dict[str, Metrics]:
        """Have every site score a model on one of its splits.

        Parameters
        ----------
        arrays : ArrayRecord
            The model.
        split : {"validation", "test"}
            Which patients.
        arm : str
            Arm of the comparison that the model belongs to.
        own_folder : bool
            Let simulated sites leave example images and scores by patient in the run folder.

        Returns
        -------
        dict of str to dict
            Metrics by site, in the order of the names; a site that failed is missing here and recorded in the history.
        """
        config = ConfigRecord({records.SPLIT: split, records.ARM: arm})
        if own_folder:
            config[records.RUN_FOLDER] = str(self.run.path)
        content = RecordDict({records.ARRAYS: arrays, records.CONFIG: config})
        answers: dict[str, Metrics] = {}
        for site, reply in self.ask(MessageType.EVALUATE, content):
            if reply.has_error():
                self.run.history.append({"event": "failed", "site": site, "during": split, "reason": error_text(reply.error)})
            else:
                answers[site] = records.metrics_of(reply.content)
        return dict(sorted(answers.items()))

    def ask(self, message_type: str, content: RecordDict) -> Iterator[tuple[str, Message]]:
        """Send every site the same message and yield each answer as it comes, until the deadline of the study."""
        messages = [Message(content, dst_node_id=node, message_type=message_type) for node in self.sites]
        replies = self.grid.send_and_receive(messages, timeout=self.study.strategy.deadline)
        for reply in replies:
            yield self.sites.get(reply.metadata.src_node_id, "unknown"), reply


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
    nodes = _wait_for_nodes(grid, expected, study.strategy.wait)
    everyone = Federation(grid, study, run, {node: f"node-{k}" for k, node in enumerate(nodes, start=1)})
    joined: dict[int, str] = {}
    for alias, reply in everyone.ask(records.JOIN, RecordDict({records.CONFIG: ConfigRecord({})})):
        refused = error_text(reply.error) if reply.has_error() else _mismatch(reply, layout)
        if refused:
            run.history.append({"event": "failed", "site": alias, "during": "join", "reason": refused})
            continue
        name = records.site_name(reply)
        if name in joined.values():
            raise QuorumError("SITE-TWICE", f"two nodes say that they are {name!r}.", "Give every site.toml its own name.")
        joined[reply.metadata.src_node_id] = name
        run.history.append(_joined_event(name, reply.content))
    if len(joined) < study.strategy.quorum:
        raise QuorumError(
            "TOO-FEW-SITES",
            f"{len(joined)} of {len(nodes)} sites can take part; the study asks for {study.strategy.quorum}.",
            "The reasons of the others are in the history of the run, and in the sites' own logs.",
        )
    ordered = dict(sorted(joined.items(), key=lambda item: item[1]))
    return Federation(grid, study, run, ordered)


def _mismatch(reply: Message, layout: str) -> str:
    told = reply.content.config_records[records.SITE].get(records.MODEL_HASH)
    return "" if told == layout else "[MODEL-MISMATCH] The network of this site differs: another version of medfl or MONAI."


def _wait_for_nodes(grid: Grid, expected: int, seconds: float) -> list[int]:
    end = time.monotonic() + seconds
    nodes = sorted(grid.get_node_ids())
    while len(nodes) < expected and time.monotonic() < end:
        time.sleep(_POLL)
        nodes = sorted(grid.get_node_ids())
    return nodes


def _joined_event(name: str, content: RecordDict) -> dict[str, object]:
    numbers, told = records.metrics_of(content), content.config_records[records.SITE]
    splits = ("train", "validation", "test")
    return {
        "event": "joined",
        "site": name,
        **{split: numbers[f"join.{split}-patients"] for split in splits},
        "cases": {split: numbers[f"join.{split}-cases"] for split in splits},
        "excluded": records.counts_from_text(str(told["excluded"])),
        "warnings": records.counts_from_text(str(told["warnings"])),
        "patient-ids": told["patient-ids"] == "yes",
    }
