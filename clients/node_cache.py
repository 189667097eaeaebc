"""Cache of what a node works with: site, prepared cases and network. A process opens each once, and again when it changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from flwr.app import Context
from torch import nn

from medfl.clients.networks.tuning import build_training_network
from medfl.clients.prepared_cache import PreparedCache
from medfl.clients.site_cache import read_current_site
from medfl.clients.training import interrupts
from medfl.data.cases import Case
from medfl.data.cohort import data_stamp
from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.store.prepare import prepare
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import ConfigError, DataError, Problem
from medfl.flower import compat
from medfl.messages.models import Tensors
from medfl.messages.records import Metrics
from medfl.runs.kept_models import Which
from medfl.site import Site
from medfl.study import Simulation, Study, app_from_run_config, study_from_run_config

_MAX_CASES = 20_000  # that one process keeps open, about 10 kB each; their images are memory-mapped
_prepared = PreparedCache(_MAX_CASES)


def _note_nothing(received: Tensors, trained: Tensors, steps: int) -> None:
    """Forget how far training moved the model."""


def _keep_nothing(which: Which, arrays: Tensors, scores: Metrics) -> None:
    """Forget a model that was tested."""


def _choose_all(prepared: PreparedData) -> PreparedData:
    return prepared


class OpenNode(NamedTuple):
    """What a node answers for.

    Parameters
    ----------
    study : Study
        The study that the message belongs to.
    site : Site
        The site.
    simulation : Simulation, optional
        How the site is simulated; a hospital has none, whatever the server's configuration says.
    question : str
        Digest of the question that is answered, as of `medfl.privacy.questions`; empty at a simulated site.
    choose_cases : callable
        Returns those of the site's cases that the run works on: at a hospital those that were fixed when it joined.
    choose_described : callable, optional
        Returns the names of those cases that a fingerprint describes, of all that were measured; None: all.
    note_update : callable
        Called with a model before and after training, and the number of steps: a hospital compares later models with them.
    keep_model : callable
        Called with ``shared`` or ``personal``, a model that was tested, and its scores: a hospital may keep the model. A
        simulated site need not, as the folder of the run has it.
    repeat_exclusions : callable, optional
        Returns what a hospital told of the cases that it left out when it joined, to be told again; None: what it finds now.
    """

    study: Study
    site: Site
    simulation: Simulation | None = None
    question: str = ""
    choose_cases: Callable[[PreparedData], PreparedData] = _choose_all
    choose_described: Callable[[Sequence[Case]], Collection[str]] | None = None
    note_update: Callable[[Tensors, Tensors, int], None] = _note_nothing
    keep_model: Callable[[Which, Tensors, Metrics], None] = _keep_nothing
    repeat_exclusions: Callable[[], str] | None = None


def open_node(context: Context) -> OpenNode:
    """Return what a node answers for: the site of its ``site.toml``, or in a simulation the one of its partition.

    Raises
    ------
    ConfigError
        When the study or the ``site.toml`` is wrong, a node outside of a simulation has none, or a hospital is asked for
        what only a simulation can do.
    DataError
        ``NO-SUCH-PARTITION``.
    """
    if "site" in context.node_config:
        study = study_from_run_config(context.run_config)
        study.check_real()
        return OpenNode(study, read_current_site(Path(str(context.node_config["site"]))))
    app = app_from_run_config(context.run_config)
    return OpenNode(app.study, _find_simulated_site(app.simulation, context), app.simulation)


def _find_simulated_site(simulation: Simulation, context: Context) -> Site:
    if "partition-id" not in context.node_config or not compat.is_simulation():
        raise ConfigError([Problem("node configuration", "site", "this node was started without the path of a site.toml.")])
    sites = simulated_sites(simulation)
    partition = int(context.node_config["partition-id"])
    if partition >= len(sites):
        raise DataError(
            "NO-SUCH-PARTITION",
            f"the data of the simulation holds {len(sites)} hospitals, and this node should be number {partition + 1}.",
            "Start as many nodes as there are hospitals; 'medfl study check STUDY --data DATA' prints the command.",
        )
    return sites[partition]


@lru_cache(maxsize=1)
def simulated_sites(simulation: Simulation) -> tuple[Site, ...]:
    """Return all sites of a simulation."""
    return read_simulated_sites(simulation)


def load_cases(study: Study, site: Site) -> PreparedData:
    """Return the prepared cases of a site; they are prepared again when images are added or removed."""
    return _prepared.get((study, site, data_stamp(site)), lambda: prepare(site, study, case_done))


@lru_cache(maxsize=1)
def get_network(study: Study) -> nn.Module:
    """Return the network in training. Its weights are whatever the last message left: load a model before using it."""
    return build_training_network(study)


def forget_prepared() -> None:
    """Forget the prepared cases of all sites, as a new process knows none."""
    _prepared.clear()


def case_done(done: int, total: int) -> None:
    """Break off the preparing of cases between two of them, when there is a reason to."""
    interrupts.check_interrupts()
