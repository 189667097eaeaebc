"""Federated averaging, and the base of every other strategy.

Flower's `FedAvg` collects all replies of a round before it averages them. `FedAvg` here adds each reply to the aggregate as it
arrives, leaves bad replies out with a reason, and records what became of every site. Its subclasses replace single steps of a
round; the class names them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from logging import INFO, getLogger
from typing import Any, ClassVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from medfl.aggregate import MEANS, Mean, MeanName
from medfl.flower.privacy_wrappers import find_planned_replies
from medfl.grids.streaming import StreamingGrid
from medfl.messages.exchange import Exchange, WeightLimit
from medfl.messages.models import Tensor, Tensors
from medfl.messages.records import ARRAYS, CONFIG, RoundRecord, array_views, to_array
from medfl.strategies.base.central_privacy import OrderCheck, check_noise, check_release
from medfl.strategies.base.evaluation_rounds import EvaluationRounds, check_no_replies
from medfl.strategies.base.model_buffers import find_buffers, freeze_names, log_buffers
from medfl.strategies.base.reply import MetricsMean, Reply, mean_metrics
from medfl.strategies.base.value_range import RangeCheck, check_sent_model, finish_in_range
from medfl.strategies.transforms.reply_pipeline import ReplyPipeline
from medfl.strategies.transforms.reply_transform import ReplyTransform

_log = getLogger("flwr")


@dataclass(eq=False)
class FedAvg(EvaluationRounds):
    """Federated averaging (McMahan et al. 2017, https://arxiv.org/abs/1602.05629); it takes the place of Flower's class.

    The model is that of Flower's class, but for Flower's rounding. The differences: memory does not grow with the number of
    sites; not one bit of the result depends on the order of arrival; integer tensors are not averaged; a reply that is late or
    bad is left out with a reason; and a round with too few of them fails. `docs/strategies.md` lists them all.

    A subclass overrides one or several of the steps of a round, which are called in this order:

    ==================  ====================================================================================================
    step                what it does here
    ==================  ====================================================================================================
    `message_contents`  put the model and the configuration into the message to each site, for training and for evaluation
    `begin_round`       get ready for the replies: an empty mean
    `start_model`       say which model a site started from: the one that was sent, for each reply
    `add_reply`         add a reply to the mean, or refuse it with ExchangeError and change nothing
    `finish_round`      return the new model, which is the mean
    `new_tensor`        return one tensor of it, given the mean; called by `finish_round`, but for buffers, which are averaged
    `state`, `restore`  what the next round needs besides the model, for a run that is resumed
    `check_sites`       refuse at once a federation that is too small for the rule
    ==================  ====================================================================================================

    Between `start_model` and `add_reply` a reply goes through the `transforms`, in their order.

    Parameters
    ----------
    fraction_train, fraction_evaluate : float
        Share of the connected sites that train in a round, or evaluate; 0 switches it off.
    min_train_nodes, min_evaluate_nodes : int
        Sites that are asked at least, whatever the share; never fewer than the quorum.
    min_available_nodes : int
        Connected sites that a round needs to begin.
    weighted_by_key : str
        Metric of a reply that holds its weight; empty when all replies weigh the same.
    arrayrecord_key, configrecord_key : str
        Names of the records that are sent.
    train_metrics_aggr_fn, evaluate_metrics_aggr_fn : callable, optional
        As in Flower, but the contents that they get hold no arrays.
    quorum : int
        Counted replies that a round needs.
    evaluate_weighted_by_key : str, optional
        Metric of an evaluation reply that holds its weight; the same as `weighted_by_key` unless given.
    wait : float
        Seconds to wait until enough sites are connected.
    seed : int
        Decides which sites are chosen.
    mean : {"exact", "float"}
        `medfl.aggregate.ExactMean`, or the faster `medfl.aggregate.FloatMean` whose last bits depend on the order.
    transforms : sequence of ReplyTransform
        Steps that each training reply goes through before it is added, from the wire inwards.
    site_names : mapping of int to str
        Name of the site behind each node; nodes without one are not asked. Empty: all nodes are. See also `begin_run`.
    parameter_names : collection of str, optional
        Names of the tensors that are parameters, such as ``read_parameter_names(net)``; all other floating-point tensors are
        buffers. Unless given, the buffers are those whose names end as running statistics do.

    Attributes
    ----------
    last_round : RoundRecord
        What became of every site in the last training exchange, even if the round failed.
    last_evaluation : RoundRecord
        The same for the last evaluation exchange.
    last_model : ArrayRecord or None
        Model of the last training round that was completed, also when a later one failed.
    buffers : frozenset of str
        Names of the buffers of the model; known once a round began.

    Examples
    --------
    In any ServerApp::

        result = FedAvg(min_train_nodes=3, quorum=2).start(grid, initial_arrays, num_rounds=3)
    """

    has_common_start: ClassVar[bool] = True
    """Whether all sites of a round start from one model: only then are their scores merged, and norms of updates compared."""
    distinguishes_buffers: ClassVar[bool] = False
    """Whether the result would be wrong if buffers were taken for parameters."""
    goes_beyond_mean: ClassVar[bool] = False
    """Whether changes are squared, summed over rounds or extrapolated, so that values beyond 2**60 are left out."""

    tunes_part: ClassVar[bool] = True
    """Whether it works where a part of a network is trained and sent; a class of another package must say so itself."""

    fraction_train: float = 1.0
    fraction_evaluate: float = 1.0
    min_train_nodes: int = 2
    min_evaluate_nodes: int = 2
    min_available_nodes: int = 2
    weighted_by_key: str = "num-examples"
    arrayrecord_key: str = ARRAYS
    configrecord_key: str = CONFIG
    train_metrics_aggr_fn: MetricsMean | None = None  # type: ignore[assignment]  # None only until Flower's class sets it
    evaluate_metrics_aggr_fn: MetricsMean | None = None  # type: ignore[assignment]
    _: KW_ONLY
    quorum: int = 1
    evaluate_weighted_by_key: str | None = None
    wait: float = 600.0
    seed: int = 0
    mean: MeanName = "exact"
    transforms: Sequence[ReplyTransform] = ()
    site_names: Mapping[int, str] = field(default_factory=dict)
    parameter_names: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.quorum < 1 or self.mean not in MEANS:
            allowed = ", ".join(MEANS)
            raise ValueError(f"quorum must be at least 1 (came {self.quorum}), mean one of {allowed} (came {self.mean!r})")
        if not self.has_common_start and any(transform.needs_norms for transform in self.transforms):
            raise ValueError(f"{type(self).__name__} takes no transform that compares the updates of a round")
        super().__init__(
            self.fraction_train,
            self.fraction_evaluate,
            self.min_train_nodes,
            self.min_evaluate_nodes,
            self.min_available_nodes,
            self.weighted_by_key,
            self.arrayrecord_key,
            self.configrecord_key,
            self.train_metrics_aggr_fn,
            self.evaluate_metrics_aggr_fn,
        )
        self.transforms, self.parameter_names = tuple(self.transforms), freeze_names(self.parameter_names)
        self.site_names = self.site_names or {}
        self.last_round = self.last_evaluation = RoundRecord(0, (), 0, 0, 0.0)
        self.last_model: ArrayRecord | None = None
        self.buffers: frozenset[str] = frozenset()
        self._training: tuple[Exchange, ArrayRecord] | None = None
        self._absent = []
        self.weight_limit: WeightLimit | None = None  # set before the first round, if at all
        self._logged_buffers = False
        self._planned_replies = 0  # by a wrapper for differential privacy, if there is one

    def begin_run(self, site_names: Mapping[int, str], transforms: Sequence[ReplyTransform] = ()) -> None:
        """Take what is known only once the sites have joined; to be called, if at all, before the first round.

        Parameters
        ----------
        site_names : mapping of int to str
            As for the class. It is read anew in every round, so a site that is added later takes part from then on.
        transforms : sequence of ReplyTransform
            Further ones; replies go through them after those of the class.

        Raises
        ------
        QuorumError
            When the replies of all these sites would be too few for the rule (`check_sites`).
        """
        self.site_names = site_names
        self.transforms = (*self.transforms, *transforms)
        self.check_sites(len(site_names))

    def summary(self) -> None:
        """Log summary configuration of the strategy."""
        super().summary()
        _log.log(INFO, "\t└──> Mean: %s | quorum: %d | wait: %g s | seed: %d", self.mean, self.quorum, self.wait, self.seed)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
        **more: Any,
    ) -> Result:
        """Run all rounds as Flower does, but add each reply as it arrives; `more` is what newer Flowers take besides."""
        streaming = grid if isinstance(grid, StreamingGrid) else StreamingGrid(grid)
        return super().start(streaming, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn, **more)

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Choose the sites of a training round and build their messages.

        Raises
        ------
        ExchangeError
            When the strategy, its transforms or a wrapper for differential privacy do not fit each other or the model.
        QuorumError
            ``TOO-FEW-SITES`` when too few sites are connected.
        """
        self._training, self.last_model = None, arrays
        if self.fraction_train == 0.0:
            return []
        self._planned_replies = find_planned_replies()
        self._check_model(array_views(arrays))
        messages = self._build_messages(server_round, arrays, config, grid, MessageType.TRAIN)
        exchange = Exchange(server_round, messages, self.site_names, absent=self._absent, weight_limit=self.weight_limit)
        self._training = exchange, arrays
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add the training replies one by one, and return the new model and the mean metrics.

        Raises
        ------
        QuorumError
            ``QUORUM`` when too few replies could be counted; it says why each of the others was left out. ``UPDATE-RANGE``
            when the new model or the state is not finite: the state is then that from before the round.
        """
        if self._training is None:
            check_no_replies(replies)
            return None, None
        (exchange, sent), self._training = self._training, None
        model, limits = array_views(sent), RangeCheck()
        first = (OrderCheck(),) if self._planned_replies else ()
        last = (limits,) if self.goes_beyond_mean else ()
        pipeline = ReplyPipeline((*first, *self.transforms, *last), self.buffers)
        pipeline.begin_round(server_round, model)
        self.begin_round(sent)
        pipeline.take(
            exchange, replies, self.weighted_by_key, lambda site: self.start_model(site, model), self.add_reply, model
        )
        self.last_round = exchange.record()
        self._check_quorum(self.last_round, "train")
        if self._planned_replies:
            check_noise(self.last_round, self._planned_replies)
        made = finish_in_range(self, self.last_round, limits.largest)
        if not self._planned_replies:  # or the model would be kept without its noise
            self.last_model = made
        return made, mean_metrics(self.last_round.counted, self.weighted_by_key, self.train_metrics_aggr_fn)

    def check_sites(self, sites: int) -> None:
        """Raise QuorumError when the replies of that many sites are too few for the rule, before any site trains."""

    def state(self) -> dict[str, Tensor]:
        """Return what the next round needs besides the model, by name, for a run that is resumed."""
        return ReplyPipeline(self.transforms).state()

    def restore(self, state: Tensors) -> None:
        """Go on from what `state` returned, as if the run had never stopped."""
        ReplyPipeline(self.transforms).restore(state)

    def begin_round(self, sent: ArrayRecord) -> None:
        """Get ready for the replies of a round, given the model that was sent."""
        self._mean: Mean = MEANS[self.mean](array_views(sent))

    def add_reply(self, reply: Reply) -> None:
        """Add one reply to the aggregate, or raise ExchangeError and change nothing."""
        self._mean.add(reply.arrays, reply.weight)

    def finish_round(self) -> ArrayRecord:
        """Return the new model; called once, after all replies, and only if the quorum is reached."""
        model = ArrayRecord()
        for name, array in self._mean.results(drain=True):
            model[name] = to_array(array if name in self.buffers else self.new_tensor(name, array))
        del self._mean
        return model

    def new_tensor(self, name: str, mean: Tensor) -> Tensor:
        """Return a tensor of the new model, given the mean of the replies."""
        return mean

    def start_model(self, site: str, sent: Tensors) -> Tensors:
        """Return the model that a site started from, given the model that the round began with."""
        return sent

    def _check_model(self, model: Tensors) -> None:
        """Find the buffers of a model, and refuse before any site trains what would spoil it."""
        check_sent_model(model)
        self.buffers = find_buffers(model, self.parameter_names)
        if self._planned_replies:
            check_release(type(self), FedAvg, self.transforms, model, self.buffers)
        ReplyPipeline(self.transforms, self.buffers).check_buffers()
        if not self._logged_buffers:
            log_buffers((self, *self.transforms), model, self.buffers, is_told=self.parameter_names is not None)
        self._logged_buffers = True
