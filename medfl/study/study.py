"""The study as a whole: what is trained, how, and for how long. It is data without code, so its hash can be approved."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from medfl.errors import ConfigError, Problem
from medfl.errors.validation import InconsistentError
from medfl.schema import Section, read_section
from medfl.study import network_options
from medfl.study.algorithms import (
    ALGORITHMS,
    LOCAL_LAYERS,
    NO_COMMON_START,
    PERSONAL_ALGORITHMS,
    STATEFUL_ALGORITHMS,
    addition_conflicts,
    contribution_conflicts,
    share_conflicts,
)
from medfl.study.arms import SIMULATED_ARMS, Arms, arm_problems
from medfl.study.loss_limit import default_max_loss
from medfl.study.sections import (
    LOSSES_BY_KIND,
    MAX_SHAPLEY_SITES,
    Augmentation,
    Compression,
    Contribution,
    Evaluation,
    Filtering,
    Loss,
    NotNegative,
    Optimizer,
    Personal,
    Positive,
    Preprocessing,
    Schedule,
    Splits,
    Strategy,
    Training,
)
from medfl.study.start import Start, start_problems
from medfl.study.task import Task
from medfl.study.tuning import tune_conflicts

_MAX_SITES = 16  # of a study that does not say
_MAX_DISTANCE = 100.0  # mm, of a study that does not say
_NAME_FORM = "1 to 32 letters (a to z), digits or '-', beginning with a letter"


class Study(Section):
    """What to do, validated and frozen: all that a hospital reads, and nothing of how it is simulated or served.

    Read it with `medfl.study.read_study` (a folder) or `medfl.study.study_from_run_config` (inside a Flower app).
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,31}$", description=_NAME_FORM)]
    seed: NotNegative = 0
    split_seed: Annotated[  # keeps the splits while seeds change; the seed unless given
        int | None, Field(ge=0, exclude_if=lambda value: value is None)  # an older study keeps its hash
    ] = None
    rounds: Positive
    arms: Arms = ("federated",)  # what is compared, of `medfl.study.arms.ARMS`
    task: Task
    preprocessing: Preprocessing = Preprocessing()
    splits: Splits = Splits()
    network: network_options.Network
    start: Annotated[  # an older study keeps its hash
        Start, Field(exclude_if=lambda value: value == Start())
    ] = Start()
    loss: Loss
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    training: Training = Training()
    augmentation: Augmentation = Augmentation()
    evaluation: Evaluation = Evaluation()
    strategy: Strategy = Strategy()
    compression: Compression = Compression()
    filtering: Filtering = Filtering()
    personal: Personal = Personal()
    contribution: Contribution = Contribution()

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        problems = self._consistency_problems()
        if problems:
            raise InconsistentError([(key, what) for key, _, what in (problem.partition(": ") for problem in problems)])
        return self

    def _consistency_problems(self) -> list[str]:
        return [
            *arm_problems(self.arms, self.rounds, self.personal.fine_tune_rounds),
            *self._choice_problems(),
            *self._option_problems(),
            *self._image_problems(),
            *self._size_problems(),
            *self._stack_problems(),
            *start_problems(self),
        ]

    def _option_problems(self) -> Iterator[str]:
        divisors = self.network.divisors(self.task.dimension)
        if any(side % divisor for side, divisor in zip(self.training.patch, divisors, strict=False)):  # lengths: _size_problems
            allowed = str(divisors[0]) if len(set(divisors)) == 1 else ",".join(map(str, divisors)) + ", one for each axis,"
            yield f"training.patch: every number must be a multiple of {allowed} for this network"
        if self.network.name == "unetr" and not (self.training.patch or self.preprocessing.size):
            yield "training.patch: 'unetr' needs one size for all its inputs, here or as preprocessing.size"
        if self.loss.label_smoothing and self.loss.name not in ("dice-ce", "cross-entropy"):
            yield f"loss.label-smoothing: {self.loss.name!r} does not have it; allowed with dice-ce, cross-entropy"
        if self.loss.class_weights and self.loss.name == "generalized-dice":
            yield "loss.class-weights: 'generalized-dice' weighs the classes by itself"

    def _choice_problems(self) -> Iterator[str]:
        kind = self.task.kind
        for key, name, allowed in (
            ("network.name", self.network.name, network_options.NETWORKS_BY_KIND[kind]),
            ("loss.name", self.loss.name, LOSSES_BY_KIND[kind]),
        ):
            if name not in allowed:
                yield f"{key}: {name!r} is not for {kind}; allowed: {', '.join(allowed)}"
        if self.network.norm == "batch" and "norm" not in self.local_layers and not self.training.tunes_part:
            yield (
                f"network.norm: 'batch' cannot be averaged over hospitals (FedAvg over BatchNorm collapses where scanners "
                f"differ) and {self.strategy.name!r} does not keep it local; use 'instance' or 'group', or set personal.layers "
                f"to 'norm'"
            )
        weights = self.loss.class_weights
        if weights and weights != ("balanced",) and not _are_weights(weights, len(self.task.classes)):
            yield f"loss.class-weights: needs 'balanced' or {len(self.task.classes)} positive numbers"

    def _stack_problems(self) -> Iterator[str]:
        wanted = max(self.strategy.sites, self.strategy.quorum)
        if 0 < self.strategy.max_sites < wanted:
            yield f"strategy.max-sites: a run needs {wanted} hospitals, and this lets it have {self.strategy.max_sites}"
        if self.strategy.max_share < 1:
            yield from (f"strategy.max-share: {reason}" for reason in share_conflicts(self.strategy.name, self.arms))
        known = ALGORITHMS.get(self.strategy.name)
        if known:
            try:
                read_section(known.options, dict(self.strategy.options), "")
            except ConfigError as error:
                yield from (f"strategy.options.{p.key}: {p.what} {p.fix}".rstrip(". ") for p in error.problems)
            if known.optimizers and self.optimizer.name not in known.optimizers:
                allowed = ", ".join(known.optimizers)
                yield (
                    f"optimizer.name: the update of {self.strategy.name!r} is derived for {allowed}, and means nothing with "
                    f"{self.optimizer.name!r}"
                )
        yield from (f"strategy: {reason}" for reason in addition_conflicts(self.strategy.name, self.additions))
        if self.training.tunes_part:
            reasons = tune_conflicts(self.training.tune, self.strategy.name, self.local_layers, self.network.norm)
            yield from (f"training.tune: {reason}" for reason in reasons)
        reasons = contribution_conflicts(self.strategy.name, self.contribution.method)
        yield from (f"contribution.method: {reason}" for reason in reasons)

    def _image_problems(self) -> Iterator[str]:
        chosen, task = self.preprocessing, self.task
        for key, value, modality in (
            ("bias-correction", chosen.bias_correction == "n4", "MR"),
            ("contrast", chosen.contrast == "equalize", "XR"),
            ("crop", chosen.crop == "body", "CT"),
        ):
            if value and task.modality != modality:
                yield f"preprocessing.{key}: this choice is for {modality}, and the study is of {task.modality}"

    def _size_problems(self) -> Iterator[str]:
        task = self.task
        for key, value in (("preprocessing.size", self.preprocessing.size), ("training.patch", self.training.patch)):
            if value and len(value) != task.dimension:
                yield f"{key}: came {len(value)} numbers, needs {task.dimension} or none"
        if self.network.name == "dynunet":
            for name, levels in (("strides", self.network.strides), ("kernels", self.network.kernels)):
                if levels and len(levels[0]) != task.dimension:
                    yield f"network.{name}: came {len(levels[0])} numbers a level, needs {task.dimension}"
        if self.preprocessing.spacing and (task.dimension != 3 or len(self.preprocessing.spacing) != 3):
            yield "preprocessing.spacing: needs three numbers, and a task of dimension 3"
        if task.kind == "classification" and not self.preprocessing.size:
            yield "preprocessing.size: a classification task needs one size for all images"
        if any(axis not in range(task.dimension) for axis in self.augmentation.flip):
            yield f"augmentation.flip: axes run from 0 to {task.dimension - 1}"

    @property
    def seed_of_splits(self) -> int:
        """The seed by which patients are divided, also among simulated hospitals: `split_seed`, or the seed of the study."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def local_layers(self) -> tuple[str, ...]:
        """Kinds of layers that stay at the sites: "norm", "head", both or none."""
        return LOCAL_LAYERS.get(self.strategy.name, self.personal.layers)

    def quorum(self, enrolled: int) -> int:
        """Return how many replies a round needs to count: one of each site that it asks, unless the study gives a number.

        Parameters
        ----------
        enrolled : int
            Sites of the federation or of the simulation; 0 when it is not known yet.
        """
        expected = self.strategy.sites or enrolled
        return self.strategy.quorum or max(1, math.floor(expected * self.strategy.fraction + 1e-9))

    @property
    def min_quorum(self) -> int:
        """Lowest quorum that is possible under what a hospital approves; who is enrolled only the server says."""
        return self.quorum(enrolled=0)

    @property
    def max_sites(self) -> int:
        """Most hospitals that a run may have, for which a hospital is asked to score further models."""
        return self.strategy.max_sites or max(self.strategy.sites, _MAX_SITES)

    @property
    def site_limit(self) -> int | None:
        """Hospitals that a run may have at most; None where no hospital is asked more because there are others."""
        method = self.contribution.method if "federated" in self.arms else "none"
        if method == "shapley":
            return min(self.max_sites, MAX_SHAPLEY_SITES)
        return self.max_sites if method == "leave-one-out" or "local" in self.arms else None

    def check_sites(self, count: int) -> None:
        """Raise ConfigError when a federation has more hospitals than a hospital that approves this study reads of."""
        limit = self.site_limit
        if limit is None or count <= limit:
            return
        self.contribution.check_sites(count)
        problem = f"{count} hospitals take part, and the study is approved for {limit}: with each more, all score more models."
        fix = f"Write max-sites = {count} in the table 'strategy' and have the study approved again, or ask fewer with 'sites'."
        raise ConfigError([Problem("pyproject.toml", "strategy.max-sites", problem, fix)])

    def check_real(self) -> None:
        """Raise ConfigError when the study asks real hospitals for what only a simulation can do."""
        fix = 'Simulate it with medfl simulate; for a federation write arms = "federated,local".'
        arms = [Problem("pyproject.toml", "arms", reason, fix) for arm, reason in SIMULATED_ARMS.items() if arm in self.arms]
        if problems := arms + self.evaluation.real_problems():
            raise ConfigError(problems)

    def rounds_of(self, arm: str) -> int:
        """Return the most rounds of an arm; "fine-tuned" has a quarter, at least one, unless the study gives a number."""
        tuning = self.personal.fine_tune_rounds or max(1, self.rounds // 4)
        return {"ensemble": 0, "fine-tuned": tuning}.get(arm, self.rounds)

    @property
    def max_loss(self) -> float:
        """Largest loss that a patient counts with; see `medfl.study.loss_limit` for a study that does not say."""
        return self.evaluation.max_loss or default_max_loss(self.loss, self.task.classes)

    @property
    def max_distance(self) -> float:
        """Largest 95th percentile of the Hausdorff distance that a patient counts with, mm (2-D: pixels)."""
        return self.evaluation.max_distance or _MAX_DISTANCE

    @property
    def has_common_start(self) -> bool:
        """Whether all sites train the model of the last round, which their replies score as well."""
        return self.strategy.name not in NO_COMMON_START

    @property
    def sends_start(self) -> bool:
        """Whether the whole first model is sent to each site as it joins: of a file, of which a part is trained."""
        return self.start.is_given and self.training.tunes_part

    @property
    def keeps_site_state(self) -> bool:
        """Whether a site's part in a round depends on what it has kept from the rounds before."""
        return bool(self.local_layers) or self.strategy.name in STATEFUL_ALGORITHMS or self.compression.codec == "top-k"

    @property
    def has_personal_models(self) -> bool:
        """Whether each site ends with a personal model besides the shared one; then both are tested."""
        return bool(self.local_layers) or self.strategy.name in PERSONAL_ALGORITHMS or self.personal.fine_tune_steps > 0

    @property
    def additions(self) -> tuple[str, ...]:
        """What is combined with the algorithm: keys of `medfl.study.algorithms.ADDITIONS`."""
        chosen = {
            self.compression.codec: self.compression.codec != "none",
            "clip-norm": self.filtering.clip_norm > 0,
            "reject-factor": self.filtering.reject_factor > 0,
            **dict.fromkeys(self.personal.layers, True),
            "fine-tune": self.personal.fine_tune_steps > 0,
        }
        return tuple(name for name, is_on in chosen.items() if is_on)

    def approved_hash(self) -> str:
        """Return the hash of the whole study, 64 hexadecimal digits: what a hospital approves, to the last value."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _are_weights(words: tuple[str, ...], count: int) -> bool:
    try:
        return len(words) == count and all(float(w) > 0 for w in words)
    except ValueError:
        return False
