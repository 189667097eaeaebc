"""Table of the strategies that a study may name, and how one is built from a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from medfl.messages.records import EVAL_PATIENTS, TRAIN_LOSS_BEFORE, TRAIN_PATIENTS, TRAIN_SAMPLES
from medfl.schema import read_section
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
from medfl.strategies.multikrum import MultiKrum
from medfl.strategies.qfedavg import QFedAvg
from medfl.strategies.rfa import Rfa
from medfl.strategies.scaffold import Scaffold
from medfl.strategies.strategy_loading import load_strategy
from medfl.strategies.transforms.norm_filters import ClipNorm, NormOutlierFilter
from medfl.strategies.transforms.reply_transform import ReplyTransform
from medfl.strategies.transforms.update_decoding import Bf16, Int8, TopK
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS

_WEIGHTS = {"patients": TRAIN_PATIENTS, "samples": TRAIN_SAMPLES, "equal": ""}

# The server's part of each algorithm.
STRATEGIES: Mapping[str, type[FedAvg]] = MappingProxyType(
    {
        "fedavg": FedAvg,
        "fedavgm": FedAvgM,
        "fedadam": FedAdam,
        "fedyogi": FedYogi,
        "fedadagrad": FedAdagrad,
        "fednova": FedNova,
        "qfedavg": QFedAvg,
        "fedcostwavg": FedCostWAvg,
        "fedpidavg": FedPIDAvg,
        "fedprox": FedProx,
        "scaffold": Scaffold,
        "feddyn": FedDyn,
        "fedmedian": FedMedian,
        "fedtrimmedavg": FedTrimmedAvg,
        "krum": Krum,
        "multikrum": MultiKrum,
        "rfa": Rfa,
        "cyclic": Cyclic,
        "fedbuff": FedBuff,
    }
)
# Keywords of a class for the keys of its table of options in a study, where the two differ: classes that take the place of
# Flower's have Flower's keywords.
KEYWORDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "fedavgm": {"momentum": "server_momentum"},
        "fedadam": {"server_learning_rate": "eta", "beta1": "beta_1", "beta2": "beta_2"},
        "fedyogi": {"server_learning_rate": "eta", "beta1": "beta_1", "beta2": "beta_2"},
        "fedadagrad": {"server_learning_rate": "eta"},
        "fedprox": {"mu": "proximal_mu"},
        "krum": {"malicious": "num_malicious_nodes"},
        "multikrum": {"malicious": "num_malicious_nodes", "keep": "num_nodes_to_select"},
    }
)
# Keyword arguments that a class takes from other tables of the study, or that medfl's sites decide.
_STUDY_OPTIONS: Mapping[str, Callable[[Study], dict[str, Any]]] = MappingProxyType(
    {
        "fednova": lambda study: {"momentum": study.optimizer.momentum if study.optimizer.name == "sgd" else 0.0},
        "qfedavg": lambda study: {
            "client_learning_rate": study.optimizer.learning_rate,
            "train_loss_key": TRAIN_LOSS_BEFORE,
        },
        "cyclic": lambda study: {"hop_timeout": study.strategy.deadline},
        "fedbuff": lambda study: {"round_timeout": study.strategy.deadline},
    }
)
# Algorithms that differ from FedAvg only at the sites.
CLIENT_ONLY = frozenset({"fedbn", "fedper", "fedrep", "moon", "ditto", "apfl", "condist"})


def common_options(study: Study, quorum: int) -> dict[str, Any]:
    """Return the keyword arguments that a study gives to every strategy.

    Parameters
    ----------
    study : Study
        Its tables ``strategy``, ``compression`` and ``filtering`` decide.
    quorum : int
        Replies that a round needs to count.
    """
    chosen = study.strategy
    return {
        "weighted_by_key": _WEIGHTS[chosen.weights],
        "evaluate_weighted_by_key": EVAL_PATIENTS,
        "quorum": quorum,
        **dict.fromkeys(("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"), quorum),
        "wait": chosen.wait,
        "fraction_train": chosen.fraction,
        "seed": study.seed,
        "transforms": build_transforms(study),
    }


def build_transforms(study: Study) -> tuple[ReplyTransform, ...]:
    """Build the transforms that a study asks for, from the wire inwards: unpack, then shorten or leave out."""
    codec, filtering = study.compression.codec, study.filtering
    transforms: list[ReplyTransform] = []
    if codec != "none":
        transforms.append(TopK(study.compression.keep) if codec == "top-k" else {"bf16": Bf16, "int8": Int8}[codec]())
    if filtering.clip_norm:
        transforms.append(ClipNorm(filtering.clip_norm))
    if filtering.reject_factor:
        transforms.append(NormOutlierFilter(filtering.reject_factor))
    return tuple(transforms)


def build_strategy(study: Study, quorum: int) -> FedAvg:
    """Build the strategy that a study names.

    Parameters
    ----------
    study : Study
        Its table ``strategy`` decides.
    quorum : int
        Replies that a round needs to count: `Study.quorum` of the sites that are enrolled.

    Returns
    -------
    FedAvg
        Call `FedAvg.begin_run` on it once the sites have joined.

    Raises
    ------
    ConfigError
        When the name is neither in the table nor an installed entry point of the group ``medfl.strategies``, or that does not
        take the study's options or builds something other than a `FedAvg`.
    """
    name = study.strategy.name
    if name in CLIENT_ONLY:
        return FedAvg(**common_options(study, quorum))
    if name in STRATEGIES:
        options = read_section(ALGORITHMS[name].options, dict(study.strategy.options), "pyproject.toml")
        keywords = {KEYWORDS.get(name, {}).get(key, key): value for key, value in options.model_dump().items()}
        extra = _STUDY_OPTIONS[name](study) if name in _STUDY_OPTIONS else {}
        return STRATEGIES[name](**common_options(study, quorum), **keywords, **extra)
    return load_strategy(study, quorum, common_options(study, quorum))
