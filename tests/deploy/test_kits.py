"""Startup kits: their content, and what a hospital refuses to unpack."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import zipfile
from pathlib import Path

import pytest
from cryptography import x509

from medfl.deploy import site_registry
from medfl.deploy.federation_folder import FederationFolder, init_federation
from medfl.deploy.identity import load_key, make_identity, public_key_text, read_request
from medfl.deploy.kits import join_federation, read_kit, write_kit
from medfl.deploy.site_setup import set_up_site
from medfl.errors import ConfigError, DeployError
from medfl.site import read_site


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    return init_federation(tmp_path / "federation", "heart study", "fl.example.org:443")


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    set_up_site(tmp_path / "hospital-a", "hospital-a", "/data")
    return tmp_path / "hospital-a"


def kit_for(federation: FederationFolder, hospital: Path) -> Path:
    site, certificate = site_registry.enrol(federation, read_request(hospital / f"{hospital.name}.request.json"))
    return write_kit(federation, site, certificate)


def all_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def content(kit: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(kit) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as kit:
        for name, data in files.items():
            kit.writestr(name, data)
    return path


def test_a_kit_holds_five_instructions_and_nothing_secret(federation: FederationFolder, hospital: Path) -> None:
    files = content(kit_for(federation, hospital))
    assert set(files) == {"ca.crt", "site.crt", "federation.json", "README.txt"}
    assert not any(b"PRIVATE" in data for data in files.values())
    title, *lines = files["README.txt"].decode().splitlines()
    assert "nothing secret" in title
    assert [line[0] for line in lines] == list("12345")


def test_a_site_that_joins_keeps_its_own_settings(federation: FederationFolder, hospital: Path) -> None:
    path = hospital / "site.toml"
    path.write_text(path.read_text().replace("min-cases = 10", "min-cases = 40  # our ethics board"))
    before = path.read_text()
    assert join_federation(read_kit(kit_for(federation, hospital)), hospital) == path
    assert path.read_text().startswith(before.rstrip())
    site = read_site(hospital)
    assert site.federation is not None
    assert site.federation.server == "fl.example.org:443"
    assert site.policy.min_cases == 40
    assert (hospital / site.federation.ca).read_bytes() == federation.ca_certificate.read_bytes()
    key = load_key(hospital / site.federation.key).public_key()
    assert x509.load_pem_x509_certificate((hospital / site.federation.certificate).read_bytes()).public_key() == key


def test_a_renewed_kit_changes_the_certificate_and_nothing_that_was_edited(
    federation: FederationFolder, hospital: Path
) -> None:
    join_federation(read_kit(kit_for(federation, hospital)), hospital)
    path = hospital / "site.toml"
    path.write_text(path.read_text().replace("[federation]", '[federation]  # since May\naudit = "log.jsonl"'))
    before = all_files(hospital)
    join_federation(read_kit(write_kit(federation, *site_registry.renew(federation, "hospital-a"))), hospital)
    after = all_files(hospital)
    assert {name for name in after if after[name] != before.get(name)} == {"site.crt"}


def test_files_go_where_the_site_toml_says(federation: FederationFolder, hospital: Path) -> None:
    kit = read_kit(kit_for(federation, hospital))
    (hospital / "site.key").rename(hospital / "own.key")
    path = hospital / "site.toml"
    names = '[federation]\nserver = "old:1"\nkey = "own.key"\nca = "their-ca.crt"\ncertificate = "own.crt"\n'
    path.write_text(f"{path.read_text()}\n{names}")
    join_federation(kit, hospital)
    assert (hospital / "their-ca.crt").read_bytes() == kit.ca
    assert (hospital / "own.crt").read_bytes() == kit.certificate
    assert not (hospital / "ca.crt").exists()
    federation_table = read_site(hospital).federation
    assert federation_table is not None
    assert federation_table.server == "fl.example.org:443"


def test_a_private_site_toml_stays_private(federation: FederationFolder, hospital: Path) -> None:
    (hospital / "site.toml").chmod(0o600)
    join_federation(read_kit(kit_for(federation, hospital)), hospital)
    assert stat.S_IMODE((hospital / "site.toml").stat().st_mode) == 0o600


def test_the_kit_of_another_site_changes_nothing(federation: FederationFolder, hospital: Path, tmp_path: Path) -> None:
    set_up_site(tmp_path / "hospital-b", "hospital-b", ".")
    kit = read_kit(kit_for(federation, tmp_path / "hospital-b"))
    before = all_files(hospital)
    with pytest.raises(DeployError, match=r"\[KIT-FOREIGN\].*hospital-b"):
        join_federation(kit, hospital)
    assert all_files(hospital) == before


def test_a_kit_for_another_key_changes_nothing(federation: FederationFolder, hospital: Path) -> None:
    kit = read_kit(kit_for(federation, hospital))
    set_up_site(hospital, "hospital-a", ".", new_key=True)
    before = all_files(hospital)
    with pytest.raises(DeployError, match=r"\[KIT-FOREIGN\].*a different key"):
        join_federation(kit, hospital)
    assert all_files(hospital) == before


def test_a_kit_of_another_federation_does_not_replace_the_first(
    federation: FederationFolder, hospital: Path, tmp_path: Path
) -> None:
    join_federation(read_kit(kit_for(federation, hospital)), hospital)
    other_federation = init_federation(tmp_path / "other_federation", "heart study", "fl.example.net:443")
    kit = read_kit(kit_for(other_federation, hospital))
    before = all_files(hospital)
    with pytest.raises(DeployError, match="OTHER-FEDERATION"):
        join_federation(kit, hospital)
    assert all_files(hospital) == before
    (hospital / "ca.crt").write_bytes(b"")  # nobody knows any more whose it was
    with pytest.raises(DeployError, match="OTHER-FEDERATION"):
        join_federation(kit, hospital)
    (hospital / "ca.crt").unlink()  # the hospital's own decision
    join_federation(kit, hospital)
    assert (hospital / "ca.crt").read_bytes() == other_federation.ca_certificate.read_bytes()


def test_a_folder_without_a_key_is_left_untouched(federation: FederationFolder, hospital: Path, tmp_path: Path) -> None:
    kit = read_kit(kit_for(federation, hospital))
    with pytest.raises(DeployError, match="KEY-DAMAGED"):
        join_federation(kit, tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_a_wrong_site_toml_is_reported_and_nothing_is_changed(federation: FederationFolder, hospital: Path) -> None:
    kit = read_kit(kit_for(federation, hospital))
    (hospital / "site.toml").write_text('name = "hospital-a"\n[policy]\nmin-cout = 3\n')
    before = all_files(hospital)
    with pytest.raises(ConfigError, match="min-count"):
        join_federation(kit, hospital)
    assert all_files(hospital) == before


def test_a_site_that_cannot_make_its_key_gets_it_in_a_private_kit(federation: FederationFolder, tmp_path: Path) -> None:
    request, key = make_identity("hospital-a")
    path = write_kit(federation, *site_registry.enrol(federation, request), key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" in content(path)["README.txt"]
    with zipfile.ZipFile(path) as kit:  # as 'unzip' would write it
        assert kit.getinfo("site.key").external_attr >> 16 == stat.S_IFREG | 0o600
    join_federation(read_kit(path), tmp_path / "new")
    site = read_site(tmp_path / "new")
    assert site.name == "hospital-a"
    assert public_key_text(load_key(tmp_path / "new" / "site.key")) == request.public_key
    assert stat.S_IMODE((tmp_path / "new" / "site.key").stat().st_mode) == 0o600
    assert not any(key in file.read_bytes() for file in federation.path.rglob("*") if file.is_file() and file != path)


def test_a_key_of_the_site_is_never_replaced_by_one_in_a_kit(federation: FederationFolder, hospital: Path) -> None:
    request, key = make_identity("hospital-a")
    kit = read_kit(write_kit(federation, *site_registry.enrol(federation, request), key))
    before = all_files(hospital)
    with pytest.raises(DeployError, match="KIT-FOREIGN"):
        join_federation(kit, hospital)
    assert all_files(hospital) == before


def test_other_files_in_a_kit_are_never_unpacked(federation: FederationFolder, hospital: Path, tmp_path: Path) -> None:
    files = content(kit_for(federation, hospital))
    extra = {"../escaped": b"x", "/escaped": b"x", "site.toml": b"[policy]\n", "site.secret": b"x" * 32, "sub/ca.crt": b"x"}
    before = all_files(hospital)
    join_federation(read_kit(pack(tmp_path / "kit.zip", files | extra)), hospital)
    after = all_files(hospital)
    assert set(after) - set(before) == {"ca.crt", "site.crt"}
    assert after["site.secret"] == before["site.secret"]
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", 'x:1"\n[policy]\nmin-count = 0'),
        ("address", "no port"),
        ("site", "../hospital-a"),
        ("federation", "[bold]a"),
        ("expires", "never"),
        ("more", "1"),
        ("site", 7),
    ],
)
def test_a_manifest_that_is_not_valid_is_refused(
    federation: FederationFolder, hospital: Path, tmp_path: Path, key: str, value: object
) -> None:
    files = content(kit_for(federation, hospital))
    files["federation.json"] = json.dumps(json.loads(files["federation.json"]) | {key: value}).encode()
    with pytest.raises(DeployError, match="KIT-DAMAGED"):
        read_kit(pack(tmp_path / "kit.zip", files))


@pytest.mark.parametrize("missing", ["ca.crt", "site.crt", "federation.json", "README.txt"])
def test_a_kit_that_lacks_a_file_is_refused(federation: FederationFolder, hospital: Path, tmp_path: Path, missing: str) -> None:
    files = content(kit_for(federation, hospital))
    with pytest.raises(DeployError, match="KIT-DAMAGED"):
        read_kit(pack(tmp_path / "kit.zip", {name: data for name, data in files.items() if name != missing}))


def test_a_certificate_that_another_authority_signed_is_refused(
    federation: FederationFolder, hospital: Path, tmp_path: Path
) -> None:
    files = content(kit_for(federation, hospital))
    other_federation = init_federation(tmp_path / "other_federation", "a", "localhost:1")
    with pytest.raises(DeployError, match="KIT-DAMAGED"):
        read_kit(pack(tmp_path / "kit.zip", files | {"ca.crt": other_federation.ca_certificate.read_bytes()}))


def test_a_private_key_of_another_certificate_is_refused(federation: FederationFolder, hospital: Path, tmp_path: Path) -> None:
    files = content(kit_for(federation, hospital))
    for key in (make_identity("hospital-a")[1], b"rubbish", federation.server_key.read_bytes()):
        with pytest.raises(DeployError, match="KIT-DAMAGED"):
            read_kit(pack(tmp_path / "kit.zip", files | {"site.key": key}))


def test_a_zip_bomb_is_refused(federation: FederationFolder, hospital: Path, tmp_path: Path) -> None:
    files = content(kit_for(federation, hospital))
    bomb = pack(tmp_path / "bomb.zip", files | {"README.txt": bytes(30_000_000)})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(DeployError, match="KIT-DAMAGED"):
        read_kit(bomb)
    with pytest.raises(DeployError, match="KIT-DAMAGED"):
        read_kit(pack(tmp_path / "long.zip", files | {"more": os.urandom(200_000)}))


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_kit_with_another_compression_is_refused(
    federation: FederationFolder, hospital: Path, tmp_path: Path, method: int
) -> None:
    with pytest.raises(DeployError, match="KIT-DAMAGED"):
        read_kit(pack(tmp_path / "kit.zip", content(kit_for(federation, hospital)), method))


def test_a_kit_with_any_byte_changed_is_refused_or_means_the_same(
    federation: FederationFolder, hospital: Path, tmp_path: Path
) -> None:
    path = kit_for(federation, hospital)
    whole, expected = path.read_bytes(), read_kit(path)
    other = tmp_path / "kit.zip"
    for position in range(0, len(whole), 7):
        other.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with contextlib.suppress(DeployError):
            assert read_kit(other) == expected
    other.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DeployError, match="KIT-DAMAGED"):
        read_kit(other)
    with pytest.raises(DeployError, match="KIT-DAMAGED"):
        read_kit(tmp_path / "nowhere.zip")
