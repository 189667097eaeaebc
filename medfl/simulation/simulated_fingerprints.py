"""Fingerprints of simulated hospitals, collected by the messages that real ones would get."""

from __future__ import annotations

from medfl.flower import compat
from medfl.server.fingerprints import CollectedFingerprints, Progress, collect_fingerprints
from medfl.simulation.embedded_engine import CLIENT_APP, default_workers
from medfl.simulation.embedded_grid import EmbeddedGrid
from medfl.simulation.simulated_run import SimulatedRun
from medfl.simulation.worker_pool import WorkerPool, has_cuda


def collect_simulated_fingerprints(simulation: SimulatedRun, progress: Progress | None = None) -> CollectedFingerprints:
    """Ask every simulated hospital for its fingerprint, as many at a time as the machine has cores for.

    Parameters
    ----------
    simulation : SimulatedRun
        The study and its hospitals; no run folder is made.
    progress : callable, optional
        Called with (sites that answered, sites in all).

    Returns
    -------
    CollectedFingerprints
    """
    compat.disable_telemetry()
    sites, threads = len(simulation.sites), simulation.study.training.threads
    with WorkerPool(default_workers(sites, threads), CLIENT_APP, threads, cuda=has_cuda()) as pool:
        return collect_fingerprints(EmbeddedGrid(pool, sites, simulation.run_config), simulation.study, sites, progress)
