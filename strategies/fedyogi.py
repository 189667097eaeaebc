"""FedYogi: the Yogi optimizer at the server."""

from __future__ import annotations

import numpy as np

from medfl.messages.models import Tensor
from medfl.strategies.fedadam import FedAdam


class FedYogi(FedAdam):
    """Yogi at the server (Reddi et al. 2021, https://arxiv.org/abs/2003.00295, Algorithm 2).

    Like Adam, but the second moment moves up or down by a fixed share of the squared change, and so forgets more slowly. The
    same as Flower's class; the learning rate is not corrected in the first rounds.

    Parameters
    ----------
    **options
        As for `FedAdam`.
    """

    def _second_moment(self, before: Tensor, change: Tensor) -> Tensor:
        squared = change**2
        return np.asarray(before - (1.0 - self.beta2) * squared * np.sign(before - squared))

    def _learning_rate(self) -> float:
        return self.server_learning_rate
