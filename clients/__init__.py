"""The client side: a site evaluates the received model, trains it on its own images, and answers with model and numbers.

`node` answers messages; `session` trains and scores; `algorithms` holds what each algorithm adds at the client;
`tasks` is what differs between segmentation and classification. What others may use is exported here by name and imported when
it is used: this package itself loads neither torch nor MONAI.
"""

from typing import TYPE_CHECKING

from medfl.system.lazy_exports import export_lazily

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

_MODULES = {
    "ApflClient": "medfl.clients.algorithms.apfl",
    "ClientAlgorithm": "medfl.clients.algorithms.client_algorithm",
    "ClientState": "medfl.clients.training.client_state",
    "ConDistClient": "medfl.clients.algorithms.condist",
    "DittoClient": "medfl.clients.algorithms.ditto",
    "FedDynClient": "medfl.clients.algorithms.feddyn",
    "FedProxClient": "medfl.clients.algorithms.fedprox",
    "FedRepClient": "medfl.clients.algorithms.fedrep",
    "MoonClient": "medfl.clients.algorithms.moon",
    "QFedAvgClient": "medfl.clients.algorithms.qfedavg",
    "ScaffoldClient": "medfl.clients.algorithms.scaffold",
    "StepHooks": "medfl.clients.training.task",
    "TrainResult": "medfl.clients.training.task",
    "TrainTask": "medfl.clients.training.task",
    "build_network": "medfl.clients.networks.network_builders",
    "train_steps": "medfl.clients.training.loop",
}
if not TYPE_CHECKING:  # or a misspelt name would pass for one that is there
    __getattr__, __dir__ = export_lazily(__name__, _MODULES)
