"""The folder of a federation's server: made whole or not at all, and private where it must be."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medfl.deploy.federation_folder import init_federation, open_federation
from medfl.errors import ConfigError, DeployError


def test_a_federation_that_was_made_can_be_opened(tmp_path: Path) -> None:
    made = init_federation(tmp_path / "f", "heart study", "fl.example.org:8443")
    opened = open_federation(tmp_path / "f")
    assert opened == made
    assert opened.settings.address == "fl.example.org:8443"
    assert opened.settings.proxy.listen == "0.0.0.0:8443"
    assert opened.settings.superlink.port not in (0, 8443)


def test_keys_are_for_their_owner_alone_and_so_are_the_folders(tmp_path: Path) -> None:
    made = init_federation(tmp_path / "f", "a", "localhost:8443")
    for path in (made.ca_key, made.server_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for name in ("ca", "server", "sites", "kits", "superlink", "proxy", "runs", "logs"):
        assert stat.S_IMODE((made.path / name).stat().st_mode) == 0o700


def test_a_federation_is_never_made_twice(tmp_path: Path) -> None:
    made = init_federation(tmp_path / "f", "a", "localhost:8443")
    before = made.ca_certificate.read_bytes()
    with pytest.raises(DeployError, match="FEDERATION-EXISTS"):
        init_federation(tmp_path / "f", "b", "localhost:9443")
    assert made.ca_certificate.read_bytes() == before


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
def test_what_could_not_stand_in_a_file_or_a_certificate_makes_nothing(
    tmp_path: Path, name: str, address: str, key: str
) -> None:
    with pytest.raises(ConfigError, match=rf"federation\.toml: {key}: "):
        init_federation(tmp_path / "f", name, address, "127.0.0.1:1")
    assert not (tmp_path / "f").exists()


def test_without_a_federation_the_way_out_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(DeployError, match=r"\[FEDERATION-MISSING\].*medfl server init"):
            open_federation(place)


def test_everything_wrong_in_the_settings_is_told_at_once(tmp_path: Path) -> None:
    init_federation(tmp_path, "a", "localhost:8443")
    path = tmp_path / "federation.toml"
    text = path.read_text().replace("max-body-megabytes = 64", "max-body-megabyte = 64")
    path.write_text(text.replace("warn-days = 30", "warn-days = 400").replace("port = ", "port = 9"))
    with pytest.raises(ConfigError) as caught:
        open_federation(tmp_path)
    told = str(caught.value)
    assert "Did you mean 'max-body-megabytes'?" in told
    assert "superlink.port" in told
    assert "'warn-days' must be less than 'days'" in told
