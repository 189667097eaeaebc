"""The client side: a site evaluates the received model, trains it on its own images, and answers with model and numbers.

`node` answers messages; `session` trains and scores; `algorithms` holds what each algorithm adds at the client;
`tasks` is what differs between segmentation and classification. What others may use is exported here by name and imported when
it is used: this package itself loads neither torch nor MONAI.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from medfl.clients.algorithms.apfl import ApflClient
    from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
    from medfl.clients.algorithms.condist import ConDistClient
    from medfl.clients.algorithms.ditto import DittoClient
    from medfl.clients.algorithms.feddyn import FedDynClient
    from medfl.clients.algorithms.fedprox import FedProxClient
    from medfl.clients.algorithms.fedrep import FedRepClient
    from medfl.clients.algorithms.moon import MoonClient
    from medfl.clients.algorithms.qfedavg import QFedAvgClient
    from medfl.clients.algorithms.scaffold import ScaffoldClient
    from medfl.clients.networks.network_builders import build_network
    from medfl.clients.training.client_state import ClientState
    from medfl.clients.training.loop import train_steps
    from medfl.clients.training.task import StepHooks, TrainResult, TrainTask

__all__ = [
    "ApflClient",
    "ClientAlgorithm",
    "ClientState",
    "ConDistClient",
    "DittoClient",
    "FedDynClient",
    "FedProxClient",
    "FedRepClient",
    "MoonClient",
    "QFedAvgClient",
    "ScaffoldClient",
    "StepHooks",
    "TrainResult",
    "TrainTask",
    "build_network",
    "train_steps",
]

_EXPORTS = {
    "algorithms.apfl": ("ApflClient",),
    "algorithms.client_algorithm": ("ClientAlgorithm",),
    "algorithms.condist": ("ConDistClient",),
    "algorithms.ditto": ("DittoClient",),
    "algorithms.feddyn": ("FedDynClient",),
    "algorithms.fedprox": ("FedProxClient",),
    "algorithms.fedrep": ("FedRepClient",),
    "algorithms.moon": ("MoonClient",),
    "algorithms.qfedavg": ("QFedAvgClient",),
    "algorithms.scaffold": ("ScaffoldClient",),
    "networks.network_builders": ("build_network",),
    "training.client_state": ("ClientState",),
    "training.loop": ("train_steps",),
    "training.task": ("StepHooks", "TrainResult", "TrainTask"),
}
if not TYPE_CHECKING:  # or a misspelt name would pass for one that is there
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_EXPORTS)
