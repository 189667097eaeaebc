"""Identity of a site: its key stays with it, and a request proves that its author holds that key."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from medfl.deploy import identity
from medfl.deploy.identity import load_key, make_identity, make_key, read_request, write_request
from medfl.deploy.site_setup import set_up_site
from medfl.errors import ConfigError, DeployError
from medfl.site import read_site


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """Return a valid request."""
    make_key(tmp_path / "site.key")
    write_request(tmp_path / "site.key", "hospital-a", tmp_path / "hospital-a.request.json")
    return tmp_path / "hospital-a.request.json"


def test_a_key_is_private_from_the_moment_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    opened = os.open

    def watching(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        modes.extend([mode] if flags & os.O_CREAT else [])
        return opened(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", watching)
    make_key(tmp_path / "site.key")
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600


def test_a_key_is_not_replaced(tmp_path: Path) -> None:
    make_key(tmp_path / "site.key")
    before = (tmp_path / "site.key").read_bytes()
    make_key(tmp_path / "site.key")
    assert (tmp_path / "site.key").read_bytes() == before


def test_a_request_that_is_read_is_what_was_written_and_holds_no_secret(request_file: Path) -> None:
    request = read_request(request_file)
    assert request.name == "hospital-a"
    key = load_key(request_file.parent / "site.key")
    assert request.public_key == key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    secret = key.private_numbers().private_value
    for form in (secret.to_bytes(48, "big"), secret.to_bytes(48, "little")):
        assert base64.b64encode(form)[:24] not in request_file.read_bytes()
    assert b"PRIVATE" not in request_file.read_bytes()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_the_fingerprint_is_that_of_ssh_keygen(request_file: Path) -> None:
    (request_file.parent / "own.pub").write_text(read_request(request_file).public_key)
    output = subprocess.run(
        ["ssh-keygen", "-l", "-f", request_file.parent / "own.pub"], capture_output=True, text=True, check=True
    )
    assert read_request(request_file).fingerprint == output.stdout.split()[1]


def edited(request_file: Path, **values: object) -> Path:
    request_file.write_text(
        json.dumps(json.loads(request_file.read_text()) | {key.replace("_", "-"): v for key, v in values.items()})
    )
    return request_file


def signed_again(request_file: Path, name: str, public_key: str) -> Path:
    """Write a request with any content, and with a signature that matches it."""
    text = identity._text_to_sign(name, public_key)
    signature = load_key(request_file.parent / "site.key").sign(text, ec.ECDSA(hashes.SHA384()))
    return edited(request_file, name=name, public_key=public_key, signature=base64.b64encode(signature).decode())


def refuses(request_file: Path) -> bool:
    with pytest.raises(DeployError, match=r"\[REQUEST-DAMAGED\]") as caught:
        read_request(request_file)
    return "hospital-b" not in str(caught.value)


def test_a_request_cannot_be_reused_under_another_name(request_file: Path) -> None:
    assert refuses(edited(request_file, name="hospital-b"))


def test_a_request_with_someone_elses_key_is_refused(request_file: Path, tmp_path: Path) -> None:
    _, other = make_identity("hospital-a")
    (tmp_path / "other").write_bytes(other)
    assert refuses(edited(request_file, public_key=identity.public_key_text(load_key(tmp_path / "other"))))


@pytest.mark.parametrize("name", ["../sites/a", "", "a" * 65, "a\n", "a b", ".a", "a/b"])
def test_a_name_that_could_become_a_path_is_refused_even_if_signed(request_file: Path, name: str) -> None:
    assert refuses(signed_again(request_file, name, read_request(request_file).public_key))


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: text.replace(" ", "  "),
        lambda text: text.replace(" ", "\t"),
        lambda text: f"{text}==",
        lambda text: f"{text} comment",
        lambda text: f"{text}\n",
    ],
)
def test_a_key_has_one_spelling(request_file: Path, respell: Callable[[str], str]) -> None:
    assert refuses(signed_again(request_file, "hospital-a", respell(read_request(request_file).public_key)))


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"null", b"{}", b"[" * 9999, b"\xff\xfe", b'{"a": "' + b"x" * 20_000 + b'"}'],
    ids=["empty", "list", "null", "no keys", "deep", "not text", "long"],
)
def test_a_file_that_is_not_a_request_is_refused_with_a_message(request_file: Path, content: bytes) -> None:
    request_file.write_bytes(content)
    assert refuses(request_file)


@pytest.mark.parametrize("text", ["ssh-unheard AAAA", "ssh-rsa AAAA", "", "ecdsa-sha2-nistp384 AAAA"])
def test_a_key_of_another_kind_is_refused(request_file: Path, text: str) -> None:
    assert refuses(edited(request_file, public_key=text))


def test_a_key_on_another_curve_is_refused(request_file: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    public = identity.public_key_text(other)
    signature = other.sign(identity._text_to_sign("hospital-a", public), ec.ECDSA(hashes.SHA384()))
    assert refuses(edited(request_file, public_key=public, signature=base64.b64encode(signature).decode()))


def test_a_private_key_of_another_kind_or_damaged_is_reported(tmp_path: Path) -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "ed").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    make_key(tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:200])
    for name in ("ed", "cut", "missing"):
        with pytest.raises(DeployError, match="KEY-DAMAGED"):
            load_key(tmp_path / name)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_private_key_with_a_passphrase_is_reported(tmp_path: Path) -> None:
    make_key(tmp_path / "site.key")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", tmp_path / "site.key"], check=True)
    with pytest.raises(DeployError, match="KEY-DAMAGED"):
        load_key(tmp_path / "site.key")


def test_setting_up_a_site_again_creates_only_what_is_missing(tmp_path: Path) -> None:
    first = set_up_site(tmp_path / "a", "hospital-a", "/data")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert set(before) == {"site.toml", "site.secret", "site.key", "hospital-a.request.json"}
    first.request.unlink()
    again = set_up_site(tmp_path / "a", "hospital-a", "elsewhere")
    assert again.fingerprint == first.fingerprint == read_request(again.request).fingerprint
    assert all((tmp_path / "a" / name).read_bytes() == before[name] for name in ("site.toml", "site.secret", "site.key"))


def test_a_new_key_moves_the_old_one_aside(tmp_path: Path) -> None:
    first = set_up_site(tmp_path, "hospital-a", ".")
    key, secret = (tmp_path / "site.key").read_bytes(), read_site(tmp_path).secret()
    second = set_up_site(tmp_path, "hospital-a", ".", new_key=True)
    assert second.fingerprint != first.fingerprint
    assert (tmp_path / "site.key.old").read_bytes() == key
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600
    assert read_site(tmp_path).secret() == secret  # pseudonyms of patients stay


def test_the_folder_of_another_site_is_not_set_up(tmp_path: Path) -> None:
    set_up_site(tmp_path, "hospital-a", ".")
    with pytest.raises(ConfigError, match="hospital-a"):
        set_up_site(tmp_path, "hospital-b", ".")
    assert not (tmp_path / "hospital-b.request.json").exists()
