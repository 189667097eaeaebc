"""A site's key stays with it, and a request shows that whoever made it holds that key."""

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
def sent(tmp_path: Path) -> Path:
    """Return a request that is right."""
    make_key(tmp_path / "site.key")
    write_request(tmp_path / "site.key", "hospital-a", tmp_path / "hospital-a.request.json")
    return tmp_path / "hospital-a.request.json"


def test_a_key_is_for_its_owner_alone_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    opened = os.open

    def watching(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        modes.extend([mode] if flags & os.O_CREAT else [])
        return opened(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", watching)
    make_key(tmp_path / "site.key")
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600


def test_a_key_stays_what_it_was(tmp_path: Path) -> None:
    make_key(tmp_path / "site.key")
    before = (tmp_path / "site.key").read_bytes()
    make_key(tmp_path / "site.key")
    assert (tmp_path / "site.key").read_bytes() == before


def test_a_request_that_is_read_is_what_was_written_and_holds_no_secret(sent: Path) -> None:
    asked = read_request(sent)
    assert asked.name == "hospital-a"
    key = load_key(sent.parent / "site.key")
    assert asked.public_key == key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    secret = key.private_numbers().private_value
    for form in (secret.to_bytes(48, "big"), secret.to_bytes(48, "little")):
        assert base64.b64encode(form)[:24] not in sent.read_bytes()
    assert b"PRIVATE" not in sent.read_bytes()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_the_fingerprint_is_the_one_that_ssh_keygen_tells(sent: Path) -> None:
    (sent.parent / "own.pub").write_text(read_request(sent).public_key)
    told = subprocess.run(["ssh-keygen", "-l", "-f", sent.parent / "own.pub"], capture_output=True, text=True, check=True)
    assert read_request(sent).fingerprint == told.stdout.split()[1]


def changed(sent: Path, **values: object) -> Path:
    sent.write_text(json.dumps(json.loads(sent.read_text()) | {key.replace("_", "-"): v for key, v in values.items()}))
    return sent


def signed_anew(sent: Path, name: str, public_key: str) -> Path:
    """Write a request whose signature fits whatever else stands in it."""
    text = identity._text_to_sign(name, public_key)
    signature = load_key(sent.parent / "site.key").sign(text, ec.ECDSA(hashes.SHA384()))
    return changed(sent, name=name, public_key=public_key, signature=base64.b64encode(signature).decode())


def refuses(sent: Path) -> bool:
    with pytest.raises(DeployError, match=r"\[REQUEST-DAMAGED\]") as caught:
        read_request(sent)
    return "hospital-b" not in str(caught.value)


def test_nobody_asks_in_another_name_with_a_request_that_was_seen(sent: Path) -> None:
    assert refuses(changed(sent, name="hospital-b"))


def test_nobody_asks_with_a_key_that_is_not_his(sent: Path, tmp_path: Path) -> None:
    _, other = make_identity("hospital-a")
    (tmp_path / "other").write_bytes(other)
    assert refuses(changed(sent, public_key=identity.public_key_text(load_key(tmp_path / "other"))))


@pytest.mark.parametrize("name", ["../sites/a", "", "a" * 65, "a\n", "a b", ".a", "a/b"])
def test_a_name_that_could_become_a_path_is_refused_though_it_is_signed(sent: Path, name: str) -> None:
    assert refuses(signed_anew(sent, name, read_request(sent).public_key))


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
def test_a_key_has_one_spelling(sent: Path, respell: Callable[[str], str]) -> None:
    assert refuses(signed_anew(sent, "hospital-a", respell(read_request(sent).public_key)))


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"null", b"{}", b"[" * 9999, b"\xff\xfe", b'{"a": "' + b"x" * 20_000 + b'"}'],
    ids=["empty", "list", "null", "no keys", "deep", "not text", "long"],
)
def test_what_is_no_request_is_refused_in_words(sent: Path, content: bytes) -> None:
    sent.write_bytes(content)
    assert refuses(sent)


@pytest.mark.parametrize("text", ["ssh-unheard AAAA", "ssh-rsa AAAA", "", "ecdsa-sha2-nistp384 AAAA"])
def test_a_key_of_another_kind_is_refused(sent: Path, text: str) -> None:
    assert refuses(changed(sent, public_key=text))


def test_a_key_on_another_curve_is_refused(sent: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    public = identity.public_key_text(other)
    signature = other.sign(identity._text_to_sign("hospital-a", public), ec.ECDSA(hashes.SHA384()))
    assert refuses(changed(sent, public_key=public, signature=base64.b64encode(signature).decode()))


def test_a_private_key_of_another_kind_or_damaged_is_said_plainly(tmp_path: Path) -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "ed").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    make_key(tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:200])
    for name in ("ed", "cut", "missing"):
        with pytest.raises(DeployError, match="KEY-DAMAGED"):
            load_key(tmp_path / name)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_private_key_with_a_passphrase_is_said_plainly(tmp_path: Path) -> None:
    make_key(tmp_path / "site.key")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", tmp_path / "site.key"], check=True)
    with pytest.raises(DeployError, match="KEY-DAMAGED"):
        load_key(tmp_path / "site.key")


def test_a_site_is_prepared_once_and_given_what_is_missing(tmp_path: Path) -> None:
    first = set_up_site(tmp_path / "a", "hospital-a", "/data")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert set(kept) == {"site.toml", "site.secret", "site.key", "hospital-a.request.json"}
    first.request.unlink()
    again = set_up_site(tmp_path / "a", "hospital-a", "elsewhere")
    assert again.fingerprint == first.fingerprint == read_request(again.request).fingerprint
    assert all((tmp_path / "a" / name).read_bytes() == kept[name] for name in ("site.toml", "site.secret", "site.key"))


def test_a_new_key_puts_the_old_one_aside(tmp_path: Path) -> None:
    first = set_up_site(tmp_path, "hospital-a", ".")
    key, secret = (tmp_path / "site.key").read_bytes(), read_site(tmp_path).secret()
    second = set_up_site(tmp_path, "hospital-a", ".", new_key=True)
    assert second.fingerprint != first.fingerprint
    assert (tmp_path / "site.key.old").read_bytes() == key
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600
    assert read_site(tmp_path).secret() == secret  # pseudonyms of patients stay


def test_the_folder_of_another_site_is_not_prepared(tmp_path: Path) -> None:
    set_up_site(tmp_path, "hospital-a", ".")
    with pytest.raises(ConfigError, match="hospital-a"):
        set_up_site(tmp_path, "hospital-b", ".")
    assert not (tmp_path / "hospital-b.request.json").exists()
