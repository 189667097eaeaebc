"""Keys of runs: what a federation's server makes of its own certificate is what its hospitals take."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.run_keys import make_run_key
from medfl.errors import DeployError
from medfl.messages.run_signing import SUBMITTED_VARIABLE, read_run_signer
from medfl.messages.signatures import SignedMessage, verify_message
from tests.deploy.local_server import make_federation

STUDY = "c" * 64


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    folder = make_federation(tmp_path, ("a", "b"))
    (folder.submitted / "run-1").mkdir(parents=True)
    return folder


def test_hospitals_take_what_the_process_of_the_run_signs(folder: FederationFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run_key(folder, folder.submitted / "run-1", "run-1", STUDY, ["a"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv(SUBMITTED_VARIABLE, str(folder.submitted))
    signer = read_run_signer("run-1")
    assert signer is not None
    message = SignedMessage(7, "train", 5, {"config": "b" * 64})
    verify_message(signer.sign(message), message, folder.ca_certificate.read_bytes(), STUDY, "run-1")
    assert signer.site_key("a") is not None
    assert signer.site_key("b") is None  # it may not take part in this run
    certificate = x509.load_pem_x509_certificate(folder.server_certificate.read_bytes())
    assert signer.statement.expires <= certificate.not_valid_after_utc


def test_each_start_of_a_run_has_a_key_of_its_own(folder: FederationFolder) -> None:
    keys = {make_run_key(folder, folder.submitted / "run-1", "run-1", STUDY, ["a"]).read_bytes() for _ in range(2)}
    assert len(keys) == 2


def test_a_server_without_its_key_says_how_to_get_one(folder: FederationFolder) -> None:
    folder.server_key.write_bytes(b"")
    with pytest.raises(DeployError, match=r"\[KEY-DAMAGED\].*medfl server renew --server"):
        make_run_key(folder, folder.submitted / "run-1", "run-1", STUDY, ["a"])


def test_renew_says_what_ends_when_and_that_keys_of_runs_need_nothing(folder: FederationFolder) -> None:
    told = CliRunner().invoke(app, ["server", "renew", "--federation", str(folder.path)]).output
    assert "medfl server renew --server" in told
    assert "medfl server renew a" in told
    assert "no site needs a new kit" in " ".join(told.split())
