"""The hospitals that take part in a run, and how the server asks them something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from medfl import metrics
from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.messages.exchange import NO_REPLY, STALE, find_asked_node, is_stale
from medfl.messages.records import Metrics
from medfl.messages.replies import describe_error, describe_refusal, read_metrics
from medfl.runs.run_folder import Run
from medfl.study import Study


class SiteJoiner(Protocol):
    """Where sites come in, see `medfl.server.joining`."""

    def admit(self, sites: dict[int, str]) -> None:
        """Add those who came since the last look."""


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
        Name of the site behind each node that joined, by name. It grows when sites come later.
    joiner : Door, optional
        Where those come in.
    """

    grid: Grid
    study: Study
    run: Run
    sites: dict[int, str]
    joiner: SiteJoiner | None = None

    def admit(self) -> None:
        """Let sites in that came since the last look."""
        if self.joiner is not None:
            self.joiner.admit(self.sites)

    def record_missing(self, needed: int) -> None:
        """Record who is waited for before a round can begin, if it cannot."""
        missing = set(self.sites) - set(self.grid.get_node_ids())
        if len(self.sites) - len(missing) < needed:
            self._record_waiting("connection", missing, self.study.strategy.wait)

    def record_awaited(self, node: int) -> None:
        """Record that a site was lost while it worked, and that a round cannot do without its answer."""
        self._record_waiting("reply", {node}, self.study.strategy.deadline)

    def _record_waiting(self, during: str, nodes: set[int], seconds: float) -> None:
        if names := sorted(self.sites[node] for node in nodes if node in self.sites):
            self.run.history.append({"event": "waiting", "during": during, "sites": names, "seconds": seconds})

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
        config[records.EXCHANGE] = records.new_exchange_id()
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
        for node, answer in self.query(MessageType.EVALUATE, contents):
            if isinstance(answer, str):
                self.record_failure(self.sites[node], split, answer)
                continue
            try:
                told = read_metrics(answer)
                metrics.check(self.study, told)
                if split == "test" and arm != "local" and self.study.has_personal_models:
                    metrics.check(self.study, metrics.personal_part(told))
            except ExchangeError as refusal:
                self.record_failure(self.sites[node], split, describe_refusal(refusal))
                continue
            answers[self.sites[node]] = told
        return dict(sorted(answers.items()))

    def query(self, message_type: str, contents: Mapping[int, RecordDict]) -> Iterator[tuple[int, RecordDict | str]]:
        """Send messages and yield what became of each as it comes: what the node answered, or why there is no answer.

        Parameters
        ----------
        message_type : str
            Of all messages.
        contents : mapping of int to RecordDict
            What each node is sent. One that has not answered by the deadline of the study comes last, with the reason.
        """
        return query(self.grid, message_type, contents, self.study.strategy.deadline)

    def record_failure(self, site: str, during: str, reason: str) -> None:
        """Record that a site could not do its part."""
        self.run.history.append({"event": "failed", "site": site, "during": during, "reason": reason})


def query(
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
        node = find_asked_node(reply, messages)
        if node not in silent:
            continue
        silent.remove(node)
        if reply.has_error():
            yield node, describe_error(reply.error)
        else:
            yield node, STALE if is_stale(contents[node], reply.content) else reply.content
    yield from ((node, NO_REPLY) for node in contents if node in silent)
