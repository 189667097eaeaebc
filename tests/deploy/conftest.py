"""What several tests of deployments begin with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from medfl.deploy.proxy import ProxyConfig
from medfl.system.ports import find_free_port
from tests.deploy.local_proxy import Setup, upstream
from tests.deploy.local_server import make_federation


@pytest.fixture
def setup() -> Iterator[Setup]:
    """Return a federation with two sites and its proxy's configuration, in a folder whose name needs quoting."""
    with tempfile.TemporaryDirectory(prefix="a federation's ") as home:
        folder = make_federation(Path(home), ("hospital-1", "hospital-2"))
        with upstream(folder.server_certificate, folder.server_key) as port:
            config = ProxyConfig(
                folder=folder.path / "proxy",
                listen=f"127.0.0.1:{find_free_port()}",
                upstream=port,
                certificate=folder.server_certificate,
                key=folder.server_key,
                ca=folder.ca_certificate,
            )
            yield Setup(folder, config, Path(home))
