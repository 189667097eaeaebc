"""Small studies and prepared sites, made in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medfl.clients.networks.arrays import Arrays, get_arrays
from medfl.clients.networks.tuning import build_training_network
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.task import TrainTask
from medfl.data.store.prepared_data import PreparedData
from medfl.site import Site
from medfl.study import Study
from medfl.testing import sites

NO_STATE = ClientState(Path("there-is-no-such-folder"), 1)  # for tasks that keep nothing


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Let what a test computes by hand use one thread, as the studies do: sums in another order have other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """Return a maker of tiny studies; keyword arguments are tables that are merged in."""
    return sites.make_study


@pytest.fixture
def site() -> Site:
    return sites.make_site()


@pytest.fixture
def organs() -> Callable[..., PreparedData]:
    """Return a maker of sites with segmented images: training cases, and two of validation and test each."""
    return sites.make_segmentation_site


@pytest.fixture
def findings() -> PreparedData:
    """Return a site with classified images: 6 of each class to train, 4 to test."""
    return sites.make_classification_site()


@pytest.fixture
def make_task(site: Site, tmp_path: Path) -> Callable[..., TrainTask]:
    """Return a maker of tasks for one site, which finds again what it saved in earlier rounds."""

    def make(study: Study, data: PreparedData, number: int = 1, received: Arrays | None = None, **fields: Any) -> TrainTask:
        net = build_training_network(study)
        state = ClientState(tmp_path / "state", number)
        return TrainTask(study, site, data, net, received or get_arrays(net), number, 40 + number, state, **fields)

    return make
