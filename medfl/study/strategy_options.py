"""Options of algorithms, the table ``strategy.options`` of a study: one class for each algorithm that has any."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medfl.schema import Number, Section

NotNegative = Annotated[Number, Field(ge=0)]
PositiveNumber = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, lt=1)]


class NoOptions(Section):
    """No options."""


class FedAvgMOptions(Section):
    """Momentum at the server."""

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
    """Fairness: sites with a large loss weigh more."""

    q: NotNegative = 0.2  # 0: FedAvg with equal weights
    lipschitz: NotNegative = 0.0  # 0: one over the learning rate of the sites


class FedCostWAvgOptions(Section):
    """Weights from the size of a site and the fall of its loss."""

    alpha: Annotated[Number, Field(ge=0, le=1)] = 0.5  # share of the size in the weight


class FedPIDAvgOptions(Section):
    """Weights from size, fall of the loss and recent sum of the loss; the share of the last is what is left to 1."""

    alpha: Annotated[Number, Field(ge=0, le=1)] = 0.45  # size
    beta: Annotated[Number, Field(ge=0, le=1)] = 0.45  # fall of the loss
    window: Annotated[int, Field(ge=1)] = 5  # rounds of the sum

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.alpha + self.beta > 1:
            raise ValueError(f"'alpha' and 'beta' may be at most 1 together, came {self.alpha + self.beta:g}")
        return self


class FedProxOptions(Section):
    """A proximal term to the received model."""

    mu: NotNegative = 0.01


class ScaffoldOptions(Section):
    """Control variates."""

    server_learning_rate: PositiveNumber = 1.0


class FedDynOptions(Section):
    """A dynamic regulariser."""

    alpha: PositiveNumber = 0.01


class MoonOptions(Section):
    """A contrastive term between the received model and the site's previous one."""

    mu: NotNegative = 1.0
    temperature: PositiveNumber = 0.5


class FedRepOptions(Section):
    """The head is trained first, then the body."""

    head_share: Annotated[Number, Field(gt=0, lt=1)] = 0.5  # share of the steps of a round that train the head


class DittoOptions(Section):
    """A personal model with a proximal term to the global one."""

    strength: NotNegative = 0.1  # the paper's lambda


class ApflOptions(Section):
    """A mixture of a global and a personal model."""

    alpha: Annotated[Number, Field(ge=0, le=1)] = 0.5  # share of the local model in the mixture at the start
    adaptive: bool = True


class ConDistOptions(Section):
    """Distillation from the received model of what a site did not annotate."""

    weight: NotNegative = 1.0
    temperature: PositiveNumber = 0.5


class FedTrimmedAvgOptions(Section):
    """A mean of every coordinate without both tails."""

    beta: Annotated[Number, Field(ge=0, lt=0.5)] = 0.2  # share of the replies cut from each end


class KrumOptions(Section):
    """The reply closest to its neighbours."""

    malicious: Annotated[int, Field(ge=0)] = 1  # expected number of malicious sites


class MultiKrumOptions(Section):
    """The mean of the replies closest to their neighbours."""

    malicious: Annotated[int, Field(ge=0)] = 1
    keep: Annotated[int, Field(ge=0)] = 0  # number of replies to average; 0: all but the malicious


class RfaOptions(Section):
    """The geometric median by smoothed Weiszfeld steps."""

    iterations: Annotated[int, Field(ge=1)] = 100
    nu: PositiveNumber = 1e-6


class CyclicOptions(Section):
    """The model travels from hospital to hospital."""

    order: Literal["name", "random"] = "random"  # random: a new order every round, from the seed


class FedBuffOptions(Section):
    """Asynchronous rounds: the server continues after some of the replies."""

    buffer: Annotated[int, Field(ge=0)] = 0  # replies that make a round; 0: half of the sites
    exponent: NotNegative = 0.5  # a reply that is s rounds old weighs (1 + s) ** -exponent
    server_learning_rate: PositiveNumber = 1.0
