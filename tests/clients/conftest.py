"""Small studies and prepared sites, made in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medfl.clients.networks.arrays import Arrays, exchange_arrays
from medfl.clients.networks.build import build_network
from medfl.clients.training.state import SiteState
from medfl.clients.training.task import Work
from medfl.data.store.stored import Prepared
from medfl.site import Site
from medfl.study import Study
from medfl.testing import sites


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
    return sites.small_study


@pytest.fixture
def site() -> Site:
    return sites.small_site()


@pytest.fixture
def organs() -> Callable[..., Prepared]:
    """Return a maker of sites with segmented images: training cases, and two of validation and test each."""
    return sites.organs


@pytest.fixture
def findings() -> Prepared:
    """Return a site with classified images: 6 of each class to train, 4 to test."""
    return sites.findings()


@pytest.fixture
def asked(site: Site, tmp_path: Path) -> Callable[..., Work]:
    """Return a maker of training messages to one site that remembers what it saved in earlier rounds."""

    def make(study: Study, data: Prepared, number: int = 1, received: Arrays | None = None, **told: Any) -> Work:
        net = build_network(study)
        state = SiteState(tmp_path / "state", number)
        return Work(study, site, data, net, received or exchange_arrays(net), number, 40 + number, state=state, **told)

    return make
