"""Folder of a federation's server: created whole or not at all, and private where it must be."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medfl.deploy.federation_folder import init_federation, open_federation
from medfl.errors import ConfigError, DeployError


def test_a_new_federation_can_be_opened(tmp_path: Path) -> None:
    federation = init_federation(tmp_path / "f", "heart study", "fl.example.org:8443")
    opened = open_federation(tmp_path / "f")
    assert opened == federation
    assert opened.settings.address == "fl.example.org:8443"
    assert opened.settings.proxy.listen == "0.0.0.0:8443"
    assert opened.settings.superlink.port not in (0, 8443)


def test_keys_and_folders_are_private(tmp_path: Path) -> None:
    federation = init_federation(tmp_path / "f", "a", "localhost:8443")
    for path in (federation.ca_key, federation.server_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for name in ("ca", "server", "sites", "kits", "superlink", "proxy", "runs", "logs"):
        assert stat.S_IMODE((federation.path / name).stat().st_mode) == 0o700


def test_a_federation_is_never_created_twice(tmp_path: Path) -> None:
    federation = init_federation(tmp_path / "f", "a", "localhost:8443")
    before = federation.ca_certificate.read_bytes()
    with pytest.raises(DeployError, match="FEDERATION-EXISTS"):
        init_federation(tmp_path / "f", "b", "localhost:9443")
    assert federation.ca_certificate.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "address", "key"),
    [
        ("", "localhost:1", "name"),
        ('a"\nx = "1', "localhost:1", "name"),
        ("a\\q", "localhost:1", "name"),
        ("a", "localhost", "address"),
        ("a", "localhost:0", "address"),
        ("a", "localhost:65536", "address"),
        ("a", 'h"x:1', "address"),
        ("a", "a;}.de:1", "address"),
        ("a", "köln.de:1", "address"),
        ("a", "[::1::]:1", "address"),
        ("a", "https://fl.example.org:1", "address"),
        ("a", f"{'a.' * 127}example.org:1", "address"),
    ],
)
def test_names_and_addresses_that_are_not_valid_create_nothing(tmp_path: Path, name: str, address: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"federation\.toml: {key}: "):
        init_federation(tmp_path / "f", name, address, "127.0.0.1:1")
    assert not (tmp_path / "f").exists()


def test_a_missing_federation_is_reported_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(DeployError, match=r"\[FEDERATION-MISSING\].*medfl server init"):
            open_federation(path)


def test_all_problems_of_the_settings_are_reported_together(tmp_path: Path) -> None:
    init_federation(tmp_path, "a", "localhost:8443")
    path = tmp_path / "federation.toml"
    text = path.read_text().replace("max-body-megabytes = 64", "max-body-megabyte = 64")
    path.write_text(text.replace("warn-days = 30", "warn-days = 400").replace("port = ", "port = 9"))
    with pytest.raises(ConfigError) as caught:
        open_federation(tmp_path)
    message = str(caught.value)
    assert "Did you mean 'max-body-megabytes'?" in message
    assert "superlink.port" in message
    assert "'warn-days' must be less than 'days'" in message
