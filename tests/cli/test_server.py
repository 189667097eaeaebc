"""Making a federation with the commands that an operator and a hospital give, one after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medfl.cli.app import app
from medfl.errors import DeployError
from medfl.site import read_site


def medfl(*words: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=answer)


def done(*words: str | Path, answer: str = "") -> str:
    result = medfl(*words, answer=answer)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture
def server(tmp_path: Path) -> Path:
    done("server", "init", tmp_path / "fed", "--name", "heart study", "--address", "fl.example.org:443")
    return tmp_path / "fed"


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    done("site", "init", "hospital-a", "--folder", tmp_path / "hospital-a")
    return tmp_path / "hospital-a"


def word_with(text: str, beginning: str) -> list[str]:
    return [word for word in text.split() if word.startswith(beginning)]


def test_a_hospital_comes_in_and_both_sides_can_compare_what_they_hold(server: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hospital-a"
    at_hospital = done("site", "init", "hospital-a", "--folder", folder)
    request = folder / "hospital-a.request.json"
    at_server = done("server", "enrol", request, "--federation", server, answer="y\n")
    site, authority = word_with(at_server, "SHA256:")
    assert word_with(at_hospital, "SHA256:") == [site]
    at_hospital = done("site", "join", server / "kits" / "hospital-a.zip", "--folder", folder, answer="y\n")
    assert word_with(at_hospital, "SHA256:") == [authority]
    place = read_site(folder).federation
    assert place is not None
    assert place.server == "fl.example.org:443"


def test_who_does_not_read_the_same_does_not_come_in(server: Path, hospital: Path) -> None:
    result = medfl("server", "enrol", hospital / "hospital-a.request.json", "--federation", server, answer="n\n")
    assert result.exit_code == 1
    assert json.loads(done("server", "sites", "--federation", server, "--json")) == []
    assert list((server / "kits").iterdir()) == []


def test_a_hospital_that_does_not_read_the_same_does_not_join(server: Path, hospital: Path) -> None:
    done("server", "enrol", hospital / "hospital-a.request.json", "--federation", server, "--yes")
    before = (hospital / "site.toml").read_text()
    result = medfl("site", "join", server / "kits" / "hospital-a.zip", "--folder", hospital, answer="n\n")
    assert result.exit_code == 1
    assert (hospital / "site.toml").read_text() == before
    assert not (hospital / "ca.crt").exists()


def test_a_key_that_the_server_makes_comes_with_a_warning(server: Path, tmp_path: Path) -> None:
    output = done("server", "enrol", "hospital-b", "--make-key", "--federation", server, "--yes")
    assert "hand it over in person" in output
    done("site", "join", server / "kits" / "hospital-b.zip", "--folder", tmp_path / "b", "--yes")
    assert (tmp_path / "b" / "site.key").exists()


def test_a_site_is_listed_renewed_and_put_out(server: Path, hospital: Path) -> None:
    done("server", "enrol", hospital / "hospital-a.request.json", "--federation", server, "--yes")
    kit = (server / "kits" / "hospital-a.zip").read_bytes()
    done("server", "renew", "hospital-a", "--federation", server)
    assert (server / "kits" / "hospital-a.zip").read_bytes() != kit
    assert medfl("server", "revoke", "hospital-a", "--federation", server, answer="n\n").exit_code == 1
    (site,) = json.loads(done("server", "sites", "--federation", server, "--json"))
    assert (site["name"], site["state"], site["revoked"]) == ("hospital-a", "valid", "")
    done("server", "revoke", "hospital-a", "--federation", server, "--yes")
    (site,) = json.loads(done("server", "sites", "--federation", server, "--json"))
    assert site["state"] == "revoked"
    assert "revoked" in done("server", "sites", "--federation", server)


def test_the_servers_certificate_and_a_site_of_that_name_are_two_things(server: Path, tmp_path: Path) -> None:
    done("site", "init", "server", "--folder", tmp_path / "s")
    done("server", "enrol", tmp_path / "s" / "server.request.json", "--federation", server, "--yes")
    kit, own = server / "kits" / "server.zip", server / "server" / "server.crt"
    before = kit.read_bytes(), own.read_bytes()
    done("server", "renew", "--server", "--federation", server)
    assert kit.read_bytes() == before[0]
    assert own.read_bytes() != before[1]
    assert medfl("server", "renew", "hospital-a", "--server", "--federation", server).exit_code == 2
    assert kit.read_bytes() == before[0]


def test_the_folder_may_be_named_once_for_all_commands(server: Path, hospital: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFL_FEDERATION", str(server))
    done("server", "enrol", hospital / "hospital-a.request.json", "--yes")
    assert [site["name"] for site in json.loads(done("server", "sites", "--json"))] == ["hospital-a"]


def test_what_is_wrong_is_one_plain_message_and_an_exit_code(server: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medfl", "server", "revoke", "nobody", "--federation", str(server), "--yes"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "[SITE-UNKNOWN] no site 'nobody' is enrolled." in result.stderr
    assert "Traceback" not in result.stderr
    raised = medfl("server", "sites", "--federation", tmp_path / "nowhere").exception
    assert isinstance(raised, DeployError)
    assert raised.code == "FEDERATION-MISSING"
