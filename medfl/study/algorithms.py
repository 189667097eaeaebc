"""The algorithms that a study may name: their options, their papers, and what cannot be combined with them.

The algorithms themselves are in `medfl.strategies` (the server's part) and `medfl.clients.algorithms` (the client's part).
Studies are checked against this table, and the reference in the documentation is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from medfl.schema import Section
from medfl.study import strategy_options as table
from medfl.study.strategy_options import NoOptions

LOCAL_LAYERS: Mapping[str, tuple[str, ...]] = {"fedbn": ("norm",), "fedper": ("head",), "fedrep": ("head",)}
PERSONAL_ALGORITHMS = ("fedbn", "fedper", "fedrep", "ditto", "apfl")  # algorithms with a personal model for each site
STATEFUL_ALGORITHMS = ("ditto", "apfl", "moon", "scaffold", "feddyn")  # beside those in which layers stay at the sites
# algorithms whose model is the weighted mean of the replies
MEAN_ALGORITHMS = ("fedavg", "fedprox", "moon", "condist", *PERSONAL_ALGORITHMS)
NO_COMMON_START = ("cyclic", "fedbuff")
# algorithms in which a reply counts by its weight alone, anew in each round, so that `strategy.max-share` can bound it
WEIGHT_ALGORITHMS = (*MEAN_ALGORITHMS, "fedavgm", "fedadam", "fedyogi", "fedadagrad", "fednova")
LOSS_ALGORITHMS = ("qfedavg", "fedcostwavg", "fedpidavg")  # whose weights come from the sites' training losses


@dataclass(frozen=True)
class Algorithm:
    """Entry of an algorithm in the table.

    Parameters
    ----------
    title : str
        Its name in the literature.
    idea : str
        One short sentence on what it does.
    paper : str
        Authors, year and address.
    options : type of Section
        The table ``strategy.options`` of a study that names it.
    sends : str
        What travels with the model; empty: nothing.
    client_module : str
        Module in `medfl.clients` with the client's part; empty: plain training.
    server_memory : str
        What the server holds beyond FedAvg's one sum; empty: nothing.
    incompatible : mapping of str to str
        Additions that cannot be combined with it, and why.
    steps_factor : float or callable
        Optimizer steps of all sites in a round compared with FedAvg; a callable gets the number of sites.
    optimizers : tuple of str
        Optimizers for which it is derived; empty: all.
    """

    title: str
    idea: str
    paper: str
    options: type[Section] = NoOptions
    sends: str = ""
    client_module: str = ""
    server_memory: str = ""
    incompatible: Mapping[str, str] = field(default_factory=dict)
    steps_factor: float | Callable[[int], float] = 1.0
    optimizers: tuple[str, ...] = ()

    def factor(self, sites: int) -> float:
        """Return `steps_factor` for a federation with this number of sites."""
        return self.steps_factor(sites) if callable(self.steps_factor) else self.steps_factor


# what a study may combine with an algorithm
ADDITIONS: Mapping[str, str] = MappingProxyType(
    {
        "bf16": "updates of 16 bits",
        "int8": "updates of 8 bits, stochastically rounded",
        "top-k": "the largest changes only; what is left over is kept at the site for the next round",
        "clip-norm": "updates are shortened to a norm",
        "reject-factor": "updates are left out whose norm is far above the median",
        "norm": "normalisation layers stay at the site",
        "head": "the last layer stays at the site",
        "fine-tune": "a closing step: each site tunes the final model on its own images",
    }
)
_UNSEEN = "the filter sees the update alone, and the control variate that comes with it would pass at any length"
_CONTROL = {
    "reject-factor": _UNSEEN,
    "clip-norm": _UNSEEN,
    "top-k": "the control variate travels whole anyway, and its theory needs updates that arrive whole",
}
_DRIFT = {
    "clip-norm": "the server would keep another drift than the sites, which do not know that their updates were shortened",
    "top-k": "the server learns the drift from what arrives, which lags behind what the sites keep",
}
_ONE_BY_ONE = {
    "reject-factor": "one update is looked at at a time, so there is no median to compare with",
    "top-k": "what a site leaves out is missing for all that come after it, until its next turn",
}
_HAS_LAYERS = dict.fromkeys(("norm", "head"), "it says itself which layers stay; for both take 'fedavg' with personal.layers")
_HAS_MODEL = {
    **dict.fromkeys(("norm", "head"), "each site has a whole model of its own already"),
    "fine-tune": "each site's own model is trained on its images already, held by the algorithm near the shared one",
}
_ROBUST_TOPK = {
    "top-k": "what a site did not send counts as unchanged, so medians are zero and distances depend on which values were sent"
}
_ON_DISK = "all replies on disk, memory-mapped"

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "fedavg": Algorithm(
            "FedAvg", "The mean, weighted by patients.", "McMahan et al. 2017, https://arxiv.org/abs/1602.05629"
        ),
        "fedavgm": Algorithm(
            "FedAvgM", "The server keeps going the way it went.", "Hsu et al. 2019, https://arxiv.org/abs/1909.06335",
            table.FedAvgMOptions, server_memory="the momentum",
        ),
        "fedadam": Algorithm(
            "FedAdam", "Adam at the server.", "Reddi et al. 2021, https://arxiv.org/abs/2003.00295", table.FedAdamOptions,
            server_memory="two moments",
        ),
        "fedyogi": Algorithm(
            "FedYogi", "Yogi at the server.", "Reddi et al. 2021, https://arxiv.org/abs/2003.00295", table.FedAdamOptions,
            server_memory="two moments",
        ),
        "fedadagrad": Algorithm(
            "FedAdagrad", "Adagrad at the server.", "Reddi et al. 2021, https://arxiv.org/abs/2003.00295",
            table.FedAdagradOptions, server_memory="one moment",
        ),
        "fednova": Algorithm(
            "FedNova", "Updates are divided by the steps behind them, so that long rounds do not pull harder.",
            "Wang et al. 2020, https://arxiv.org/abs/2007.07481",
        ),
        "qfedavg": Algorithm(
            "q-FedAvg", "Hospitals with a large loss weigh more.", "Li et al. 2020, https://arxiv.org/abs/1905.10497",
            table.QFedAvgOptions, sends="the loss before training", client_module="qfedavg", server_memory=_ON_DISK,
        ),
        "fedcostwavg": Algorithm(
            "FedCostWAvg", "Weights from size and fall of the loss.", "Mächler et al. 2021, https://arxiv.org/abs/2111.08649",
            table.FedCostWAvgOptions, server_memory=_ON_DISK,
        ),
        "fedpidavg": Algorithm(
            "FedPIDAvg", "Weights from size, fall and sum of the loss.", "Mächler et al. 2022, https://arxiv.org/abs/2304.12117",
            table.FedPIDAvgOptions, server_memory=_ON_DISK,
        ),
        "fedprox": Algorithm(
            "FedProx", "A proximal term keeps each site near the received model.", "Li et al. 2020, https://arxiv.org/abs/1812.06127",
            table.FedProxOptions, client_module="fedprox",
        ),
        "scaffold": Algorithm(
            "SCAFFOLD", "Control variates take out the drift of each site.",
            "Karimireddy et al. 2020, https://arxiv.org/abs/1910.06378", table.ScaffoldOptions,
            sends="a control variate each way", client_module="scaffold", server_memory="the control variate and its sum",
            incompatible=_CONTROL, optimizers=("sgd",),
        ),
        "feddyn": Algorithm(
            "FedDyn", "A regulariser that changes from round to round removes the drift.",
            "Acar et al. 2021, https://arxiv.org/abs/2111.04263", table.FedDynOptions,
            sends="the number of the round that was counted last, each way", client_module="feddyn",
            server_memory="one correction", incompatible=_DRIFT,
        ),
        "moon": Algorithm(
            "MOON", "Representations are drawn to the received model's and away from those of the site's previous model.",
            "Li et al. 2021, https://arxiv.org/abs/2103.16257", table.MoonOptions, client_module="moon",
        ),
        "fedbn": Algorithm(
            "FedBN", "Normalisation layers never leave the site.", "Li et al. 2021, https://arxiv.org/abs/2102.07623",
            client_module="layers", incompatible=_HAS_LAYERS,
        ),
        "fedper": Algorithm(
            "FedPer", "The head never leaves the site.", "Arivazhagan et al. 2019, https://arxiv.org/abs/1912.00818",
            client_module="layers", incompatible=_HAS_LAYERS,
        ),
        "fedrep": Algorithm(
            "FedRep", "The head never leaves the site and is trained before the body.",
            "Collins et al. 2021, https://arxiv.org/abs/2102.07078", table.FedRepOptions, client_module="fedrep",
            incompatible=_HAS_LAYERS,
        ),
        "ditto": Algorithm(
            "Ditto", "Besides the global model each site trains a personal one, with a proximal term to the global one.",
            "Li et al. 2021, https://arxiv.org/abs/2012.04221", table.DittoOptions, client_module="ditto",
            incompatible=_HAS_MODEL, steps_factor=2.0,
        ),
        "apfl": Algorithm(
            "APFL", "Each site mixes the global model with one of its own.", "Deng et al. 2020, https://arxiv.org/abs/2003.13461",
            table.ApflOptions, client_module="apfl", incompatible=_HAS_MODEL, steps_factor=2.0,
        ),
        "condist": Algorithm(
            "ConDistFL", "What a site did not annotate is distilled from the received model.",
            "Wang et al. 2023, https://arxiv.org/abs/2308.04070", table.ConDistOptions, client_module="condist",
        ),
        "fedmedian": Algorithm(
            "Coordinate median", "The median of every weight.", "Yin et al. 2018, https://arxiv.org/abs/1803.01498",
            server_memory=_ON_DISK, incompatible=_ROBUST_TOPK,
        ),
        "fedtrimmedavg": Algorithm(
            "Trimmed mean", "The mean of every weight without its extremes.", "Yin et al. 2018, https://arxiv.org/abs/1803.01498",
            table.FedTrimmedAvgOptions, server_memory=_ON_DISK, incompatible=_ROBUST_TOPK,
        ),
        "krum": Algorithm(
            "Krum", "The one update closest to its neighbours.", "Blanchard et al. 2017, https://arxiv.org/abs/1703.02757",
            table.KrumOptions, server_memory=_ON_DISK, incompatible=_ROBUST_TOPK,
        ),
        "multikrum": Algorithm(
            "Multi-Krum", "The mean of the updates closest to their neighbours.",
            "Blanchard et al. 2017, https://arxiv.org/abs/1703.02757", table.MultiKrumOptions,
            server_memory=_ON_DISK, incompatible=_ROBUST_TOPK,
        ),
        "rfa": Algorithm(
            "Geometric median (RFA)", "The point with the smallest sum of distances to all updates.",
            "Pillutla et al. 2022, https://arxiv.org/abs/1912.13445", table.RfaOptions, server_memory=_ON_DISK,
            incompatible=_ROBUST_TOPK,
        ),
        "cyclic": Algorithm(
            "Cyclic weight transfer", "The model travels from site to site; a round is one full circle.",
            "Chang et al. 2018, https://doi.org/10.1093/jamia/ocy017", table.CyclicOptions, incompatible=_ONE_BY_ONE,
        ),
        "fedbuff": Algorithm(
            "FedBuff", "The server steps as soon as enough replies are in; slow sites count later, and less.",
            "Nguyen et al. 2022, https://arxiv.org/abs/2106.06639", table.FedBuffOptions,
            server_memory="models that slow sites still work on", incompatible={"reject-factor": _ONE_BY_ONE["reject-factor"]},
        ),
    }
)  # fmt: skip


def addition_conflicts(name: str, additions: tuple[str, ...]) -> Iterator[str]:
    """Yield why additions cannot be combined with an algorithm; nothing for one from another installed package.

    Parameters
    ----------
    name : str
        Of the algorithm.
    additions : tuple of str
        Keys of `ADDITIONS`.
    """
    known = ALGORITHMS.get(name)
    for addition in additions:
        if known and addition in known.incompatible:
            yield f"{addition!r} cannot be combined with {name!r}: {known.incompatible[addition]}"
    if "clip-norm" in additions and "reject-factor" in additions:
        yield "'clip-norm' and 'reject-factor' together: norms are compared after clipping, which hides how long an update was"


def contribution_conflicts(name: str, method: str) -> Iterator[str]:
    """Yield why the contributions of sites cannot be measured by this method with an algorithm.

    Parameters
    ----------
    name : str
        Of the algorithm.
    method : {"none", "alignment", "leave-one-out", "shapley"}
        As in the table ``contribution`` of a study.
    """
    if method != "none" and name in NO_COMMON_START:
        yield f"the updates of {name!r} do not start from one model, so they cannot be compared"
    elif method in ("leave-one-out", "shapley") and name not in MEAN_ALGORITHMS:
        yield (
            f"{method!r} makes the models of fewer sites as means of their replies, and that of {name!r} is no such mean or is "
            f"not known to be one; take 'alignment', or one of {', '.join(MEAN_ALGORITHMS)}"
        )


def share_conflicts(name: str, arms: tuple[str, ...]) -> Iterator[str]:
    """Yield why the share of a hospital cannot be bounded with an algorithm, or in these arms of a comparison."""
    if "federated" not in arms:
        yield "in the arm 'local' every hospital trains alone, and no reply has a weight to bound"
    elif name not in WEIGHT_ALGORITHMS:
        yield (
            f"with {name!r} a reply does not count by its weight alone, or is not known to, so that this would bound nothing; "
            f"take one of {', '.join(WEIGHT_ALGORITHMS)}"
        )
