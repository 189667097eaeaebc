"""Embedded engine: Flower's apps over worker processes of this machine, without network, Ray, or waiting for a start."""

from __future__ import annotations

import importlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from flwr.app import ArrayRecord, Context, RecordDict

from medfl.flower import compat
from medfl.simulation.embedded_grid import EmbeddedGrid
from medfl.simulation.worker_pool import WorkerPool
from medfl.study import app_from_run_config
from medfl.study.study_file import Scalar
from medfl.system.pools import count_cores

SERVER_APP, CLIENT_APP = "medfl.server_app", "medfl.client_app:app"


def run_embedded(
    run_config: dict[str, Scalar],
    nodes: int,
    *,
    workers: int = 0,
    threads: int = 1,
    cuda: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Run the server's app in this process and the hospitals' app in worker processes, until the study ends.

    Parameters
    ----------
    run_config : dict
        Flat run configuration of the study.
    nodes : int
        Number of simulated hospitals.
    workers : int
        Hospitals that train at the same time; 0: as many as the machine has cores for.
    threads : int
        Threads of each worker.
    cuda : bool
        Whether hospitals will use CUDA.
    stop : threading.Event, optional
        Set it in another thread to end the run as by Ctrl-C.

    Raises
    ------
    MedflError
        Whatever ended the study early.
    """
    compat.disable_telemetry()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    workers = workers or default_workers(nodes, threads)
    with ThreadPoolExecutor(1) as importer:
        # imported here while the server of the workers imports torch and MONAI
        server = importer.submit(importlib.import_module, SERVER_APP)
        with WorkerPool(workers, CLIENT_APP, threads, cuda=cuda) as pool:
            grid = EmbeddedGrid(pool, nodes, run_config, stop=stop)
            state = RecordDict({**pool.call(_build_initial_models, run_config)})
            context = Context(grid.run.run_id, compat.SERVER_NODE_ID, {}, state, dict(run_config))
            server.result().app(grid, context)


def _build_initial_models(run_config: dict[str, Scalar]) -> dict[str, ArrayRecord]:
    """Build the first models in a worker: importing torch into this process as well would cost hundreds of megabytes."""
    from medfl.clients.initial_model import build_initial_models

    app = app_from_run_config(run_config)
    return build_initial_models(app.study, app.server.start)


def default_workers(nodes: int, threads: int) -> int:
    """Return how many hospitals may train at the same time on this machine."""
    return max(1, min(nodes, count_cores() // threads))
