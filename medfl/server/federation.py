"""Federation: the sites of a run, and the exchanges in which the server asks them something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from medfl import metrics
from medfl.errors import ExchangeError
from medfl.messages import records
from medfl.messages.exchange import NO_REPLY, STALE, SentMessages, is_stale
from medfl.messages.records import Metrics
from medfl.messages.replies import describe_error, describe_refusal, read_metrics
from medfl.runs.run_folder import Run
from medfl.server.site_joiner import SiteJoiner
from medfl.study import Study


@dataclass(frozen=True)
class Federation:
    """The sites that joined, by node, and what is needed to talk to them.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    run : Run
        Names the study; its history gets the events.
    sites : dict of int to str
        Name of the site behind each node that joined, in the order of the names. It grows when sites join later.
    joiner : SiteJoiner, optional
        Adds those sites; without one nobody joins later.
    external : dict of int to str
        Name of the external hospital behind each node: it is tested at the end, and asked nothing else.
    """

    grid: Grid
    run: Run
    sites: dict[int, str]
    joiner: SiteJoiner | None = None
    external: dict[int, str] = field(default_factory=dict)

    @property
    def study(self) -> Study:
        """The study of the run."""
        return self.run.study

    @property
    def quorum(self) -> int:
        """Replies that a round needs to count."""
        return self.run.app.quorum

    def admit(self) -> None:
        """Let sites join that came since the last call."""
        if self.joiner is not None:
            self.joiner.admit(self.sites)

    def record_missing(self, needed: int) -> None:
        """Record which sites are not connected when fewer than needed are, so that a round cannot begin."""
        missing = set(self.sites) - set(self.grid.get_node_ids())
        if missing and len(self.sites) - len(missing) < needed:
            record_waiting(self.run, "connection", (self.sites[node] for node in missing), self.study.strategy.wait)

    def evaluate(
        self,
        model: ArrayRecord | Mapping[str, ArrayRecord],
        split: str,
        arm: str,
        after: int,
        *,
        own_folder: bool = False,
        trial: bool = False,
        model_round: int = 0,
        owner: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> dict[str, Metrics]:
        """Have every site score a model on one of its splits; in a test the external hospitals too.

        Parameters
        ----------
        model : ArrayRecord, or mapping of str to ArrayRecord
            The model, or one for each site by its name; a site without one is not asked.
        split : {"validation", "test"}
            Split whose patients are scored.
        arm : str
            Arm of the comparison that the model belongs to.
        after : int
            The last round that is done: the sites' own state is as that round left it.
        own_folder : bool
            Let simulated sites leave example images and scores by patient in the run folder.
        trial : bool
            Whether the model only serves to measure contributions, so that sites keep nothing of it.
        model_round : int
            Round whose model it is, for the hospitals that keep it after a test; not told unless given.
        owner : str
            Site whose own model it is, for the place of the scores by patient in the run folder; not told unless given.
        extra : mapping of str to str, optional
            What else the configuration of the messages says.

        Returns
        -------
        dict of str to dict
            Metrics by site, in the order of the names; a site that failed, did not answer in time, or sent other metrics than
            the study asks for is missing here and recorded in the history.
        """
        config = ConfigRecord({records.SPLIT: split, records.ARM: arm, records.ROUND: after, records.RUN: self.run.path.name})
        config[records.EXCHANGE] = records.new_exchange_id()
        if own_folder:
            config[records.RUN_FOLDER] = str(self.run.path)
        if owner:
            config[records.OWNER] = owner
        if trial:
            config[records.TRIAL] = True
        if model_round:
            config[records.MODEL_ROUND] = model_round
        config.update(extra or {})
        answers: dict[str, Metrics] = {}
        asked = self.sites | (self.external if split == "test" else {})
        for node, answer in self.query(MessageType.EVALUATE, _evaluation_contents(asked, model, config)):
            site = asked[node]
            if isinstance(answer, str):
                self.record_failure(site, split, answer)
                continue
            try:
                answers[site] = self._read_evaluation(answer, arm, has_personal=split == "test" and node in self.sites)
            except ExchangeError as refusal:
                self.record_failure(site, split, describe_refusal(refusal))
        return dict(sorted(answers.items()))

    def _read_evaluation(self, answer: RecordDict, arm: str, *, has_personal: bool) -> Metrics:
        """Return the metrics of an answer, or raise ExchangeError when they are not what the study asks for."""
        values = read_metrics(answer)
        metrics.check(self.study, values)
        if has_personal and arm == "federated" and self.study.has_personal_models:
            metrics.check(self.study, metrics.personal_part(values))
        return values

    def query(self, message_type: str, contents: Mapping[int, RecordDict]) -> Iterator[tuple[int, RecordDict | str]]:
        """Send messages, and yield each node with its answer, or with the reason why there is none.

        Parameters
        ----------
        message_type : str
            Type of all messages.
        contents : mapping of int to RecordDict
            What each node is sent. Nodes that have not answered by the deadline of the study come last.
        """
        return query(self.grid, message_type, contents, self.study.strategy.deadline)

    def record_failure(self, site: str, during: str, reason: str) -> None:
        """Record that a site could not do its part."""
        self.run.history.append({"event": "failed", "site": site, "during": during, "reason": reason})


def _evaluation_contents(
    sites: Mapping[int, str], model: ArrayRecord | Mapping[str, ArrayRecord], config: ConfigRecord
) -> dict[int, RecordDict]:
    """Return what each node is sent; one object for all that get the same model."""
    if isinstance(model, ArrayRecord):
        return dict.fromkeys(sites, RecordDict({records.ARRAYS: model, records.CONFIG: config}))
    models = {node: model[site] for node, site in sites.items() if site in model}
    contents = {id(arrays): RecordDict({records.ARRAYS: arrays, records.CONFIG: config}) for arrays in models.values()}
    return {node: contents[id(arrays)] for node, arrays in models.items()}


def record_waiting(run: Run, during: str, sites: Iterable[str], seconds: float) -> None:
    """Record in the history of a run which sites it waits for.

    Parameters
    ----------
    run : Run
        The run.
    during : {"join", "connection", "reply"}
        What is awaited of them.
    sites : iterable of str
        Their names.
    seconds : float
        Seconds that the run waits at most.
    """
    run.history.append({"event": "waiting", "during": during, "sites": sorted(sites), "seconds": seconds})


def query(
    grid: Grid, message_type: str, contents: Mapping[int, RecordDict], deadline: float
) -> Iterator[tuple[int, RecordDict | str]]:
    """Send messages, and yield each node with its answer, or with the reason why there is none.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    message_type, contents
        Type and contents of the messages, as in `Federation.query`.
    deadline : float
        Seconds for all answers.
    """
    messages = [Message(content, dst_node_id=node, message_type=message_type) for node, content in contents.items()]
    sent, silent = SentMessages(messages), set(contents)
    for reply in grid.send_and_receive(messages, timeout=deadline):
        node = sent.find_node(reply)
        if node not in silent:
            continue
        silent.remove(node)
        if reply.has_error():
            yield node, describe_error(reply.error)
        else:
            yield node, STALE if is_stale(contents[node], reply.content) else reply.content
    yield from ((node, NO_REPLY) for node in contents if node in silent)
