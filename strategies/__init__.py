"""Strategies: what the server does with the replies of a round. One strategy a file, each usable in any Flower app.

What others may use is exported here by name: the strategies, their bases, and the transforms of replies.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from medfl.strategies.base.client_state_mean import ClientStateMean
    from medfl.strategies.base.disk_strategy import DiskStrategy
    from medfl.strategies.base.model_buffers import read_parameter_names
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
    "read_parameter_names",
]

_EXPORTS = {
    "base.client_state_mean": ("ClientStateMean",),
    "base.disk_strategy": ("DiskStrategy",),
    "base.model_buffers": ("read_parameter_names",),
    "base.reply": ("Reply",),
    "base.server_optimizer": ("ServerOptimizer",),
    "cyclic": ("Cyclic",),
    "fedadagrad": ("FedAdagrad",),
    "fedadam": ("FedAdam",),
    "fedavg": ("FedAvg",),
    "fedavgm": ("FedAvgM",),
    "fedbuff": ("FedBuff",),
    "fedcostwavg": ("FedCostWAvg",),
    "feddyn": ("FedDyn",),
    "fedmedian": ("FedMedian",),
    "fednova": ("FedNova",),
    "fedpidavg": ("FedPIDAvg",),
    "fedprox": ("FedProx",),
    "fedtrimmedavg": ("FedTrimmedAvg",),
    "fedyogi": ("FedYogi",),
    "krum": ("Krum",),
    "local_only": ("LocalOnly",),
    "multikrum": ("MultiKrum",),
    "qfedavg": ("QFedAvg",),
    "rfa": ("Rfa",),
    "scaffold": ("Scaffold",),
    "strategy_registry": ("build_strategy", "common_options"),
    "transforms.norm_filters": ("ClipNorm", "NormOutlierFilter"),
    "transforms.reply_transform": ("ReplyTransform",),
    "transforms.update_decoding": ("Bf16", "Int8", "TopK"),
}
if not TYPE_CHECKING:  # or a misspelt name would pass for one that is there
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_EXPORTS)
