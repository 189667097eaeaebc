"""The client halves of the algorithms that a study may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType

from medfl.clients.apfl import Apfl
from medfl.clients.condist import ConDist
from medfl.clients.ditto import Ditto
from medfl.clients.feddyn import FedDyn
from medfl.clients.fedprox import FedProx
from medfl.clients.fedrep import FedRep
from medfl.clients.moon import Moon
from medfl.clients.plain import Half
from medfl.clients.qfedavg import QFedAvg
from medfl.clients.scaffold import Scaffold
from medfl.errors import ConfigError, Problem
from medfl.settings import read_section
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
        problem = (
            f"the installed package that offers {name!r} made a {type(half).__name__}, expected a medfl.clients.plain.Half."
        )
        raise ConfigError([Problem("pyproject.toml", "strategy.name", problem, "Ask its authors.")])
    return half
