"""The client halves of the algorithms that a study may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType

from medfl.clients.algorithms.apfl import Apfl
from medfl.clients.algorithms.base import Half
from medfl.clients.algorithms.condist import ConDist
from medfl.clients.algorithms.ditto import Ditto
from medfl.clients.algorithms.feddyn import FedDyn
from medfl.clients.algorithms.fedprox import FedProx
from medfl.clients.algorithms.fedrep import FedRep
from medfl.clients.algorithms.moon import Moon
from medfl.clients.algorithms.qfedavg import QFedAvg
from medfl.clients.algorithms.scaffold import Scaffold
from medfl.errors import ConfigError, Problem
from medfl.schema import read_section
from medfl.site import EXTENSIONS, Site
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS

Factory = Callable[[Study], Half]

ENTRY_POINTS = EXTENSIONS  # group in which an installed package offers a Factory of its own

# The keyword arguments of a half are the keys of the table of options of its algorithm.
HALVES: Mapping[str, Callable[..., Half]] = MappingProxyType(
    {
        "qfedavg": QFedAvg,
        "fedprox": FedProx,
        "scaffold": Scaffold,
        "feddyn": FedDyn,
        "moon": Moon,
        "fedrep": FedRep,
        "ditto": Ditto,
        "apfl": Apfl,
        "condist": ConDist,
    }
)


def build_half(study: Study, site: Site) -> Half:
    """Make the client half of the algorithm that a study names.

    Parameters
    ----------
    study : Study
        Its table ``strategy`` decides.
    site : Site
        Its policy says which installed packages may bring one.

    Returns
    -------
    Half
        Plain training when the algorithm has no half of its own.

    Raises
    ------
    ConfigError
        When an installed package brings the half and the site has not allowed it.
    """
    name = study.strategy.name
    if name in HALVES:
        options = read_section(ALGORITHMS[name].options, dict(study.strategy.options), "pyproject.toml")
        return HALVES[name](**options.model_dump())
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in ALGORITHMS or name not in offered:
        return Half()
    if name not in site.policy.extensions:
        problem = f"the study asks for {name!r} of an installed package, which this site has not allowed."
        raise ConfigError([Problem("site.toml", "policy.extensions", problem, f"Allow it with extensions = {name!r}.")])
    half = offered[name].load()(study)
    if not isinstance(half, Half):
        came = type(half).__name__
        problem = f"the installed package that offers {name!r} made a {came}, expected a medfl.clients.algorithms.base.Half."
        raise ConfigError([Problem("pyproject.toml", "strategy.name", problem, "Ask its authors.")])
    return half
