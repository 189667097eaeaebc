"""FedYogi: the Yogi optimizer at the server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medfl.messages.models import Tensor
from medfl.strategies.fedadam import FedAdam


@dataclass(eq=False, kw_only=True)
class FedYogi(FedAdam):
    """Yogi at the server (Reddi et al. 2021, https://arxiv.org/abs/2003.00295, Algorithm 2).

    Like Adam, but the second moment moves up or down by a fixed share of the squared change, and so forgets more slowly. The
    same as Flower's class; the learning rate is not corrected in the first rounds.

    The keywords are those of `FedAdam`.
    """

    eta: float = 0.01
    eta_l: float = 0.0316

    def _second_moment(self, before: Tensor, change: Tensor) -> Tensor:
        squared = change**2
        return np.asarray(before - (1.0 - self.beta_2) * squared * np.sign(before - squared))

    def _learning_rate(self) -> float:
        return self.eta
