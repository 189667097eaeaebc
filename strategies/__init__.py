"""Strategies: what the server does with the replies of a round. One strategy a file, each usable in any Flower app.

What others may use is exported here by name: the strategies, their bases, and the transforms of replies.
"""

from typing import TYPE_CHECKING

from medfl.system.lazy_exports import export_lazily

if TYPE_CHECKING:
    from medfl.strategies.base.client_state_mean import ClientStateMean
    from medfl.strategies.base.disk_strategy import DiskStrategy
    from medfl.strategies.base.reply import Reply
    from medfl.strategies.base.server_optimizer import ServerOptimizer
    from medfl.strategies.cyclic import Cyclic
    from medfl.strategies.fedadagrad import FedAdagrad
    from medfl.strategies.fedadam import FedAdam
    from medfl.strategies.fedavg import FedAvg
    from medfl.strategies.fedavgm import FedAvgM
    from medfl.strategies.fedbuff import FedBuff
    from medfl.strategies.fedcostwavg import FedCostWAvg
    from medfl.strategies.feddyn import FedDyn
    from medfl.strategies.fedmedian import FedMedian
    from medfl.strategies.fednova import FedNova
    from medfl.strategies.fedpidavg import FedPIDAvg
    from medfl.strategies.fedprox import FedProx
    from medfl.strategies.fedtrimmedavg import FedTrimmedAvg
    from medfl.strategies.fedyogi import FedYogi
    from medfl.strategies.krum import Krum
    from medfl.strategies.local_only import LocalOnly
    from medfl.strategies.multikrum import MultiKrum
    from medfl.strategies.qfedavg import QFedAvg
    from medfl.strategies.rfa import Rfa
    from medfl.strategies.scaffold import Scaffold
    from medfl.strategies.strategy_registry import build_strategy, common_options
    from medfl.strategies.transforms.norm_filters import ClipNorm, NormOutlierFilter
    from medfl.strategies.transforms.reply_transform import ReplyTransform
    from medfl.strategies.transforms.update_decoding import Bf16, Int8, TopK

__all__ = [
    "Bf16",
    "ClientStateMean",
    "ClipNorm",
    "Cyclic",
    "DiskStrategy",
    "FedAdagrad",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedBuff",
    "FedCostWAvg",
    "FedDyn",
    "FedMedian",
    "FedNova",
    "FedPIDAvg",
    "FedProx",
    "FedTrimmedAvg",
    "FedYogi",
    "Int8",
    "Krum",
    "LocalOnly",
    "MultiKrum",
    "NormOutlierFilter",
    "QFedAvg",
    "Reply",
    "ReplyTransform",
    "Rfa",
    "Scaffold",
    "ServerOptimizer",
    "TopK",
    "build_strategy",
    "common_options",
]

_MODULES = {
    "Bf16": "medfl.strategies.transforms.update_decoding",
    "ClientStateMean": "medfl.strategies.base.client_state_mean",
    "ClipNorm": "medfl.strategies.transforms.norm_filters",
    "Cyclic": "medfl.strategies.cyclic",
    "DiskStrategy": "medfl.strategies.base.disk_strategy",
    "FedAdagrad": "medfl.strategies.fedadagrad",
    "FedAdam": "medfl.strategies.fedadam",
    "FedAvg": "medfl.strategies.fedavg",
    "FedAvgM": "medfl.strategies.fedavgm",
    "FedBuff": "medfl.strategies.fedbuff",
    "FedCostWAvg": "medfl.strategies.fedcostwavg",
    "FedDyn": "medfl.strategies.feddyn",
    "FedMedian": "medfl.strategies.fedmedian",
    "FedNova": "medfl.strategies.fednova",
    "FedPIDAvg": "medfl.strategies.fedpidavg",
    "FedProx": "medfl.strategies.fedprox",
    "FedTrimmedAvg": "medfl.strategies.fedtrimmedavg",
    "FedYogi": "medfl.strategies.fedyogi",
    "Int8": "medfl.strategies.transforms.update_decoding",
    "Krum": "medfl.strategies.krum",
    "LocalOnly": "medfl.strategies.local_only",
    "MultiKrum": "medfl.strategies.multikrum",
    "NormOutlierFilter": "medfl.strategies.transforms.norm_filters",
    "QFedAvg": "medfl.strategies.qfedavg",
    "Reply": "medfl.strategies.base.reply",
    "ReplyTransform": "medfl.strategies.transforms.reply_transform",
    "Rfa": "medfl.strategies.rfa",
    "Scaffold": "medfl.strategies.scaffold",
    "ServerOptimizer": "medfl.strategies.base.server_optimizer",
    "TopK": "medfl.strategies.transforms.update_decoding",
    "build_strategy": "medfl.strategies.strategy_registry",
    "common_options": "medfl.strategies.strategy_registry",
}
if not TYPE_CHECKING:  # or a misspelt name would pass for one that is there
    __getattr__, __dir__ = export_lazily(__name__, _MODULES)
