"""The table ``strategy.options`` of a study: one class for each algorithm that has options of its own."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medfl.schema import Number, Section

NotNegative = Annotated[Number, Field(ge=0)]
PositiveNumber = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]


class NoOptions(Section):
    """An algorithm without options of its own."""


class FedAvgMOptions(Section):
    """A server with momentum."""

    server_learning_rate: PositiveNumber = 1.0
    momentum: Share = 0.9


class FedAdamOptions(Section):
    """Adam and Yogi at the server."""

    server_learning_rate: PositiveNumber = 0.01
    beta1: Share = 0.9
    beta2: Share = 0.99
    tau: PositiveNumber = 1e-3  # how adaptive: added to the root of the second moment


class FedAdagradOptions(Section):
    """Adagrad at the server."""

    server_learning_rate: PositiveNumber = 0.01
    tau: PositiveNumber = 1e-3


class QFedAvgOptions(Section):
    """Fairness between hospitals: those with a large loss weigh more."""

    q: NotNegative = 0.2  # 0: FedAvg with equal weights
    lipschitz: NotNegative = 0.0  # 0: one over the learning rate of the sites


class FedCostWAvgOptions(Section):
    """Weights from the size of a hospital and from how much its loss fell."""

    alpha: Annotated[Number, Field(ge=0, le=1)] = 0.5  # share of the size


class FedPIDAvgOptions(Section):
    """Weights from size, fall of the loss and its recent sum; the rest to one is the last."""

    alpha: Annotated[Number, Field(ge=0, le=1)] = 0.45  # size
    beta: Annotated[Number, Field(ge=0, le=1)] = 0.45  # fall of the loss
    window: Annotated[int, Field(ge=1)] = 5  # rounds of the sum

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.alpha + self.beta > 1:
            raise ValueError(f"'alpha' and 'beta' may be 1 together, came {self.alpha + self.beta:g}")
        return self


class FedProxOptions(Section):
    """A spring to the received model."""

    mu: NotNegative = 0.01


class ScaffoldOptions(Section):
    """Control variates."""

    server_learning_rate: PositiveNumber = 1.0


class FedDynOptions(Section):
    """A dynamic regulariser."""

    alpha: PositiveNumber = 0.01


class MoonOptions(Section):
    """A contrastive term between the received and the site's own last model."""

    mu: NotNegative = 1.0
    temperature: PositiveNumber = 0.5


class FedRepOptions(Section):
    """The head is trained first, then the body."""

    head_share: Annotated[Number, Field(gt=0, lt=1)] = 0.5  # share of the steps of a round that train the head


class DittoOptions(Section):
    """A personal model on a spring to the global one."""

    strength: NotNegative = 0.1  # the paper's lambda


class ApflOptions(Section):
    """A mixture of a global and a personal model."""

    alpha: Annotated[Number, Field(ge=0, le=1)] = 0.5  # share of the personal model at the start
    adaptive: bool = True


class ConDistOptions(Section):
    """Distillation of what a hospital did not annotate from the received model."""

    weight: NotNegative = 1.0
    temperature: PositiveNumber = 0.5


class FedTrimmedAvgOptions(Section):
    """Both tails of every coordinate are left out."""

    beta: Annotated[Number, Field(ge=0, lt=0.5)] = 0.2  # share of the replies cut from each end


class KrumOptions(Section):
    """The reply that lies closest to its neighbours."""

    malicious: Annotated[int, Field(ge=0)] = 1  # how many bad sites are expected


class MultiKrumOptions(Section):
    """The mean of the replies that lie closest to their neighbours."""

    malicious: Annotated[int, Field(ge=0)] = 1
    keep: Annotated[int, Field(ge=0)] = 0  # how many replies; 0: all but the malicious


class RfaOptions(Section):
    """The geometric median by smoothed Weiszfeld steps."""

    iterations: Annotated[int, Field(ge=1)] = 100
    nu: PositiveNumber = 1e-6


class CyclicOptions(Section):
    """The model travels from hospital to hospital."""

    order: Literal["name", "random"] = "random"  # random: another order every round, by the seed


class FedBuffOptions(Section):
    """The server goes on as soon as some replies are there."""

    buffer: Annotated[int, Field(ge=0)] = 0  # replies that make a round; 0: half of the sites
    exponent: NotNegative = 0.5  # a reply that is s rounds old weighs (1 + s) ** -exponent
    server_learning_rate: PositiveNumber = 1.0
