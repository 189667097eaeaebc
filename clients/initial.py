"""The model that every arm of a run starts from."""

from __future__ import annotations

from flwr.app import ArrayRecord

# First, and though nothing of it is used: Flower's simulation imports the ClientApp in another thread at the same time, and
# MONAI's circular imports break when two threads enter them by different doors.
import medfl.clients.node  # noqa: F401
from medfl.clients.exchange import exchange_arrays
from medfl.clients.networks import build_network
from medfl.records import to_array_record
from medfl.study import Study


def initial_model(study: Study) -> ArrayRecord:
    """Build the network of a study and return its tensors, ready to be sent.

    Parameters
    ----------
    study : Study
        Its network and seed decide every number.

    Returns
    -------
    ArrayRecord
        As `medfl.clients.exchange.exchange_arrays` orders them.
    """
    return to_array_record(exchange_arrays(build_network(study)))
