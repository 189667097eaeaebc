"""Registry of the client algorithms that a study may name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

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
from medfl.errors import ConfigError, Problem
from medfl.schema import read_section
from medfl.site import CLIENT_ENTRY_POINTS, Site
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS

AlgorithmFactory = Callable[[Study], ClientAlgorithm]  # what an installed package offers under CLIENT_ENTRY_POINTS

# The keyword arguments of each class are the keys of the study's table strategy.options.
CLIENT_ALGORITHMS: Mapping[str, Callable[..., ClientAlgorithm]] = MappingProxyType(
    {
        "qfedavg": QFedAvgClient,
        "fedprox": FedProxClient,
        "scaffold": ScaffoldClient,
        "feddyn": FedDynClient,
        "moon": MoonClient,
        "fedrep": FedRepClient,
        "ditto": DittoClient,
        "apfl": ApflClient,
        "condist": ConDistClient,
    }
)


def build_algorithm(study: Study, site: Site) -> ClientAlgorithm:
    """Build the client algorithm that a study names.

    Parameters
    ----------
    study : Study
        Its table ``strategy`` names the algorithm and its options.
    site : Site
        Its policy says which other installed packages may bring one.

    Returns
    -------
    ClientAlgorithm
        Plain training when the algorithm adds nothing at the client.

    Raises
    ------
    ConfigError
        When another installed package brings it and the site has not allowed that.
    """
    name = study.strategy.name
    if name in CLIENT_ALGORITHMS:
        options = read_section(ALGORITHMS[name].options, dict(study.strategy.options), "pyproject.toml")
        return CLIENT_ALGORITHMS[name](**options.model_dump())
    if name in ALGORITHMS:  # which only the server needs to know
        return ClientAlgorithm()
    offered = _read_offered(_stamp_packages())
    if name not in offered:
        return ClientAlgorithm()
    if name not in site.policy.extensions:
        problem = f"the study asks for {name!r} from another installed package, which this site has not allowed."
        raise ConfigError([Problem("site.toml", "policy.extensions", problem, f"Allow it with extensions = {name!r}.")])
    algorithm = offered[name].load()(study)
    if not isinstance(algorithm, ClientAlgorithm):
        came = type(algorithm).__name__
        problem = f"the installed package that offers {name!r} made a {came}, not a medfl ClientAlgorithm."
        raise ConfigError([Problem("pyproject.toml", "strategy.name", problem, "Ask its authors.")])
    return algorithm


@lru_cache(maxsize=1)
def _read_offered(stamp: tuple[tuple[str, int], ...]) -> dict[str, EntryPoint]:
    """Return what other packages offer: read again only when one was installed or removed, since it takes some 30 ms."""
    return {point.name: point for point in entry_points(group=CLIENT_ENTRY_POINTS)}


def _stamp_packages() -> tuple[tuple[str, int], ...]:
    """Return the folders of installed packages, and when something was last added to each or removed from it."""
    return tuple((path, _changed_at(path)) for path in sys.path)


def _changed_at(path: str) -> int:
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return 0
