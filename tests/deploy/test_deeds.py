"""Who enrolled, revoked, approved or withdrew stands in the log of that side, and `medfl audit show` lists it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medfl.audit.chain import read_chain
from medfl.audit.verify import verify_logs
from medfl.cli.app import app
from medfl.deploy import site_registry
from medfl.deploy.approvals import approve, list_approvals, withdraw
from medfl.deploy.bundle import read_bundle_study
from medfl.deploy.identity import make_key, read_request, write_request
from medfl.errors import AuditError
from medfl.site import Site, init_site, read_site
from tests.deploy.local_server import make_federation

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return read_site(init_site(tmp_path / "site", "hospital-a", "."))


@pytest.fixture(autouse=True)
def own_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")  # anybody may set it: it decides nothing
    monkeypatch.delenv("SUDO_USER", raising=False)


def deeds(log: Path) -> list[Any]:
    return [line["event"] for line in read_chain(log)]


def show(log: Path) -> str:
    return CliRunner().invoke(app, ["audit", "show", str(log)], env={"COLUMNS": "200"}).output


def test_a_federation_notes_who_enrolled_renewed_and_revoked(tmp_path: Path) -> None:
    folder = make_federation(tmp_path, ("hospital-a",))
    site_registry.renew(folder, "hospital-a")
    site_registry.revoke(folder, "hospital-a")
    log = folder.path / "audit.jsonl"
    assert deeds(log) == ["enrolled", "renewed", "revoked"]
    assert {(line["site"], line["by"]) for line in read_chain(log)} == {("hospital-a", ACCOUNT)}
    assert show(log).count(f"by {ACCOUNT}") == 3
    assert verify_logs([log]).breaks == ()


def test_nothing_is_renewed_when_it_cannot_be_noted(tmp_path: Path) -> None:
    folder = make_federation(tmp_path, ("hospital-a",))
    before = site_registry.list_enrolled(folder)
    (folder.path / "audit.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(AuditError, match="AUDIT-DAMAGED"):
        site_registry.renew(folder, "hospital-a")
    assert site_registry.list_enrolled(folder) == before


def test_nobody_is_enrolled_when_it_cannot_be_noted(tmp_path: Path) -> None:
    folder = make_federation(tmp_path)
    (folder.path / "audit.jsonl").write_text('{"n": 1}\n')
    make_key(tmp_path / "a")
    write_request(tmp_path / "a", "hospital-a", tmp_path / "a.json")
    for _ in range(2):  # not SITE-ENROLLED, of a hospital without a kit
        with pytest.raises(AuditError, match="AUDIT-DAMAGED"):
            site_registry.enrol(folder, read_request(tmp_path / "a.json"))


def test_a_site_notes_who_approved_and_withdrew_which_version(site: Site, nodule_study: Path) -> None:
    study = read_bundle_study(nodule_study)
    approve(site, study)
    withdraw(site, study.name)
    approved, withdrew = read_chain(site.folder / "audit.jsonl")
    assert (approved["event"], withdrew["event"]) == ("approved", "withdrew")
    assert approved["study-hash"] == withdrew["study-hash"] == study.approved_hash()
    assert approved["by"] == withdrew["by"] == ACCOUNT
    assert f"approved {study.name}" in show(site.folder / "audit.jsonl")


def test_the_account_behind_sudo_is_noted(site: Site, nodule_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    approve(site, read_bundle_study(nodule_study))
    expected = "root (sudo: alice)" if ACCOUNT == "root" else ACCOUNT
    assert read_chain(site.folder / "audit.jsonl")[0]["by"] == expected


def test_lines_of_the_same_deed_cannot_be_guessed_from_their_hash(site: Site, nodule_study: Path) -> None:
    """The server gets hashes of this log's lines."""
    for _ in range(2):
        approve(site, read_bundle_study(nodule_study))
    one, other = read_chain(site.folder / "audit.jsonl")
    assert one["salt"] != other["salt"]
    assert len(one["salt"]) == 32


def test_nothing_is_approved_when_it_cannot_be_noted_but_it_is_withdrawn(site: Site, nodule_study: Path) -> None:
    study = read_bundle_study(nodule_study)
    approve(site, study)
    (site.folder / "audit.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(AuditError, match="AUDIT-DAMAGED"):
        withdraw(site, study.name)
    assert list_approvals(site)[0] == ()
    with pytest.raises(AuditError, match="AUDIT-DAMAGED"):
        approve(site, study)
    assert list_approvals(site)[0] == ()
