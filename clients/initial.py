"""The model that every arm of a run starts from."""

from __future__ import annotations

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from medfl.study import Study

if TYPE_CHECKING:
    from medfl.clients.exchange import Arrays


def initial_arrays(study: Study) -> Arrays:
    """Build the network of a study in a process of its own and return its tensors.

    Why a process: a server needs torch for this one moment, and would hold hundreds of megabytes of it for weeks. In the
    embedded engine the process is forked from the warm server of the workers, which has torch already.

    Parameters
    ----------
    study : Study
        Its network and seed decide every number.

    Returns
    -------
    dict of str to ndarray
        As `medfl.clients.exchange.exchange_arrays` orders them.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_leave_ctrl_c_to_the_server) as pool:
        return pool.submit(_build, study).result()


def _leave_ctrl_c_to_the_server() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _build(study: Study) -> Arrays:
    from medfl.clients.exchange import exchange_arrays
    from medfl.clients.networks import build_network

    return exchange_arrays(build_network(study))
