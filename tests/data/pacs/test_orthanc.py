"""A real PACS to pull from and send to: Orthanc, on free ports of the loopback address, filled over its REST interface."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.data.dicom.headers import read_headers
from medfl.data.dicom.series import read_series
from medfl.data.pacs.pull import pull_series
from medfl.data.pacs.send import send_objects
from medfl.runs.model_file import model_file_bytes
from medfl.testing.sites import make_study

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PROGRAM = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
pytestmark = [
    pytest.mark.needs_orthanc,
    pytest.mark.skipif(not (PROGRAM and PLUGIN.exists()), reason="needs Orthanc and its plugin for DICOMweb"),
]


@pytest.fixture
def orthanc(tmp_path: Path, free_port: Callable[[], int], archive: Any) -> Iterator[dict[str, int]]:
    """Yield the ports of an Orthanc that holds the archive; it accepts connections from this machine only."""
    ports = {"http": free_port(), "dicom": free_port(), "move": free_port()}
    folder = tmp_path / "orthanc"
    folder.mkdir()
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": ports["http"],
        "DicomPort": ports["dicom"],
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"medfl": "test"},
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"medfl": ["MEDFL", "127.0.0.1", ports["move"]]},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
        try:
            opener = _wait_for(process, ports, folder / "log")
            for path in (path for paths in archive.files.values() for path in paths):
                opener.open(f"http://127.0.0.1:{ports['http']}/instances", path.read_bytes(), timeout=30).close()
            yield ports
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _wait_for(process: subprocess.Popen[bytes], ports: dict[str, int], log: Path) -> urllib.request.OpenerDirector:
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    address = f"http://127.0.0.1:{ports['http']}/"
    passwords.add_password(None, address, "medfl", "test")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(passwords))
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with opener.open(f"{address}system", timeout=2), socket.create_connection(("127.0.0.1", ports["dicom"]), 2):
                return opener
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"Orthanc did not start:\n{log.read_text()[-2000:]}")


def _pacs_keys(service: str, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if service == "dicomweb":
        monkeypatch.setenv("PACS_USER", "medfl")
        monkeypatch.setenv("PACS_PASSWORD", "test")
        url = f"http://127.0.0.1:{ports['http']}/dicom-web"
        return {"kind": "dicomweb", "url": url, "user-env": "PACS_USER", "password-env": "PACS_PASSWORD"}
    dimse = {"kind": "dimse", "host": "127.0.0.1", "port": ports["dicom"], "ae-title": "ORTHANC"}
    return {**dimse, "move": f"127.0.0.1:{ports['move']}"} if service == "move" else dimse


def test_an_interrupted_pull_resumes_and_gives_the_same_volumes(
    orthanc: dict[str, int], archive: Any, pacs_site: Any, monkeypatch: pytest.MonkeyPatch, interrupt: Any
) -> None:
    query = {"modalities": "CT,MR,SEG", "study-dates": "20230101-20241231"}
    for service in ("dicomweb", "get", "move"):
        site = pacs_site(query, **_pacs_keys(service, orthanc, monkeypatch), **{"max-parallel": 1})
        planned = pull_series(site, dry_run=True)
        assert planned.found == (("CT", 2, 18), ("MR", 1, 9), ("SEG", 1, 1)), service
        assert not site.root.exists()
        with pytest.raises(KeyboardInterrupt):
            pull_series(site, progress=interrupt(after=14))
        complete = list(site.root.glob("study-*/series-*"))
        assert 1 <= len(complete) < 4, service
        assert not (site.root / ".pull").exists()
        pulled = pull_series(site)
        assert (pulled.already_present, pulled.series, pulled.problems) == (len(complete), 4 - len(complete), ()), service
        _assert_same_volumes(site.root, archive)
        assert pull_series(site).series == 0
        shutil.rmtree(site.root)


@pytest.mark.parametrize("service", ["dicomweb", "dimse"])
def test_predictions_that_were_sent_are_found_again_by_query(
    service: str,
    orthanc: dict[str, int],
    pacs_site: Any,
    predictions: list[Path],
    report: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query = {"modalities": "SEG,SR", "study-dates": "20230101-20241231"}
    sites = {kind: pacs_site(query, **_pacs_keys(kind, orthanc, monkeypatch)) for kind in ("dicomweb", "dimse")}
    site, paths = sites[service], [*predictions, report]
    answers = send_objects(paths, site.pacs, site.folder)
    assert [(answer.path, answer.problem, answer.is_changed) for answer in answers] == [(path, None, False) for path in paths]
    for asked in sites.values():  # by QIDO-RS and by C-FIND, however they came
        assert pull_series(asked, dry_run=True).found == (("SEG", 4, 4), ("SR", 1, 1))  # one SEG was there before
    pull_series(sites["dicomweb"])
    pulled = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, site.root.glob("study-*/series-*/*.dcm"))}
    for sent in map(pydicom.dcmread, paths):
        assert pulled[sent.SOPInstanceUID] == sent
    assert {a.problem for a in send_objects(paths, site.pacs, site.folder)} == {None}  # sent twice, stored once
    assert pull_series(site, dry_run=True).found == (("SEG", 4, 4), ("SR", 1, 1))


@pytest.mark.parametrize("service", ["dicomweb", "dimse"])
def test_a_mask_that_the_command_predicts_and_sends_is_found_again_by_query(
    service: str, orthanc: dict[str, int], archive: Any, pacs_site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {"modalities": "SEG", "study-dates": "20230101-20241231"}
    sites = {kind: pacs_site(query, **_pacs_keys(kind, orthanc, monkeypatch)) for kind in ("dimse", "dicomweb", service)}
    study = make_study(dimension=3, training={"patch": "8,8,8"}, task={"modality": "CT"})
    model, out = tmp_path / "model.safetensors", tmp_path / "out"
    model.write_bytes(model_file_bytes(study, get_arrays(build_network(study)), {"arm": "federated", "site": "", "round": 1}))
    images = archive.files["new"][0].parent
    command = ["predict", str(model), str(images), "--out", str(out), "--send", str(tmp_path / "site.toml")]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, "The PACS stored 1 of 1 DICOM file." in done.output) == (0, True), done.output
    (sent,) = map(pydicom.dcmread, out.glob("case-*.dcm"))
    for asked in sites.values():  # by QIDO-RS and by C-FIND, however it came
        assert pull_series(asked, dry_run=True).found == (("SEG", 2, 2),)  # one was there before
    pull_series(sites[service])
    pulled = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, sites[service].root.glob("study-*/series-*/*.dcm"))}
    assert pulled[sent.SOPInstanceUID] == sent
    assert sent.StudyInstanceUID == pydicom.dcmread(archive.files["new"][0]).StudyInstanceUID


@pytest.mark.parametrize(
    ("service", "change", "code"),
    [
        ("dicomweb", {"password": "wrong"}, "PACS-AUTH"),
        ("dimse", {"calling-ae-title": "UNKNOWN"}, "PACS-AET"),
    ],
)
def test_who_may_not_store_is_told_so_and_nothing_is_stored(
    service: str,
    change: dict[str, str],
    code: str,
    orthanc: dict[str, int],
    pacs_site: Any,
    predictions: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = _pacs_keys(service, orthanc, monkeypatch)
    if password := change.get("password"):
        monkeypatch.setenv("PACS_PASSWORD", password)
    site = pacs_site(**keys, **{key: value for key, value in change.items() if key != "password"})
    problems = [answer.problem for answer in send_objects(predictions, site.pacs, site.folder)]
    assert [problem and problem.code for problem in problems] == [code] * 3
    assert not [word for word in ("127.0.0.1", "1.2.", "CANARY") if word in " ".join(map(str, problems))]
    allowed = pacs_site({"modalities": "SEG", "study-dates": "20230101-20241231"}, **_pacs_keys("dimse", orthanc, monkeypatch))
    assert pull_series(allowed, dry_run=True).found == (("SEG", 1, 1),)


def _assert_same_volumes(root: Path, archive: Any) -> None:
    paths_by_uid = {read_headers(paths)[0].text("SeriesInstanceUID"): paths for paths in archive.files.values()}
    for series in root.glob("study-*/series-*"):
        files = sorted(series.iterdir())
        header = read_headers(files)[0]
        paths = paths_by_uid.pop(header.text("SeriesInstanceUID"))
        if header.text("Modality") != "SEG":
            pulled, original = read_series(files), read_series(paths)
            np.testing.assert_array_equal(pulled.array, original.array)
            np.testing.assert_allclose(pulled.affine, original.affine)
    assert not paths_by_uid
