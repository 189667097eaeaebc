"""Predictions go into a PACS on request, over C-STORE and STOW-RS; what is not stored is told with a code and nothing else."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom.association import Association

from medfl.data.pacs.outgoing import Stored
from medfl.data.pacs.send import send_objects
from medfl.errors import DataError
from medfl.site import Site
from tests.data.pacs.fake_pacs import FakePacs

SECRETS = ("CANARY", "127.0.0.1", "localhost", "secret-word", "1.2.", ".dcm")


def send(paths: list[Path], site: Site, progress: Any = lambda done, total: None) -> tuple[Stored, ...]:
    """Send files, and check that no problem says whose they are or where they went."""
    assert site.pacs is not None
    answers = send_objects(paths, site.pacs, site.folder, progress)
    assert [answer.path for answer in answers] == paths
    texts = " ".join(str(answer.problem) for answer in answers)
    assert not [word for word in SECRETS if word in texts]
    return answers


def codes(answers: tuple[Stored, ...]) -> list[str]:
    return [answer.problem.code if answer.problem else "" for answer in answers]


# Over DIMSE


def test_each_object_arrives_as_it_was_written(pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path]) -> None:
    seen: list[tuple[int, int]] = []
    answers = send(predictions, pacs_site(**start(pacs)), lambda *counts: seen.append(counts))
    assert codes(answers) == ["", "", ""]
    assert not any(answer.is_changed for answer in answers)
    assert [ds.SOPInstanceUID for ds in pacs.stored] == [pydicom.dcmread(path).SOPInstanceUID for path in predictions]
    assert pacs.stored[0] == pydicom.dcmread(predictions[0])
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("status", "code"), [(0xA900, "PACS-NOT-STORED"), (0xC001, "PACS-NOT-STORED"), (0x0124, "PACS-NOT-STORED")]
)
def test_an_object_that_is_refused_is_told_and_the_others_are_stored(
    status: int, code: str, pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path]
) -> None:
    pacs.store_answers = [0, status, 0]
    answers = send(predictions, pacs_site(**start(pacs)))
    assert codes(answers) == ["", code, ""]
    assert f"{status:04X}" in str(answers[1].problem)
    assert len(pacs.stored) == 2  # and the refused one was not sent again


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_an_object_that_is_stored_with_other_values_is_told(
    status: int, pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path]
) -> None:
    pacs.store_answers = [status]
    answers = send(predictions[:1], pacs_site(**start(pacs)))
    assert (codes(answers), answers[0].is_changed, len(pacs.stored)) == ([""], True, 1)


@pytest.mark.parametrize("fault", [None, 0xA700, 0xA702])
def test_what_fails_for_a_while_is_sent_again_and_what_was_stored_is_not(
    fault: int | None, pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path]
) -> None:
    pacs.store_answers = [0, fault, 0, 0]
    assert codes(send(predictions, pacs_site(**start(pacs)))) == ["", "", ""]
    assert len(pacs.stored) == len({ds.SOPInstanceUID for ds in pacs.stored}) == 3


def test_an_association_that_is_lost_between_two_objects_is_made_again(
    pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    send_one, calls = Association.send_c_store, itertools.count()

    def send_or_lose(self: Association, path: Path) -> Any:
        if next(calls) == 1:
            self.abort()
        return send_one(self, path)

    monkeypatch.setattr(Association, "send_c_store", send_or_lose)
    assert codes(send(predictions, pacs_site(**start(pacs)))) == ["", "", ""]
    assert len(pacs.stored) == 3


def test_what_still_fails_is_told_for_each_that_is_left(
    pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path]
) -> None:
    pacs.store_answers = [0, None, None, None]
    assert codes(send(predictions, pacs_site(**start(pacs)))) == ["", "PACS-UNREACHABLE", "PACS-UNREACHABLE"]


def test_a_kind_that_the_pacs_does_not_take_is_told_and_the_others_are_stored(
    pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path], report: Path
) -> None:
    answers = send([report, predictions[0]], pacs_site(**start(pacs)))
    assert codes(answers) == ["PACS-NOT-STORED", ""]
    assert "no objects of this kind" in str(answers[0].problem)


def test_a_caller_that_the_pacs_does_not_know_is_told(
    pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path]
) -> None:
    assert codes(send(predictions, pacs_site(**start(pacs), calling_ae_title="UNKNOWN"))) == ["PACS-AET"] * 3
    assert pacs.stored == []


def test_no_pacs_at_the_address(pacs_site: Any, free_port: Callable[[], int], predictions: list[Path]) -> None:
    site = pacs_site(kind="dimse", host="127.0.0.1", port=free_port(), ae_title="PACS")
    assert codes(send(predictions, site)) == ["PACS-UNREACHABLE"] * 3


def refused(paths: list[Path], site: Site) -> DataError:
    with pytest.raises(DataError) as caught:
        send(paths, site)
    assert not [word for word in SECRETS if word in str(caught.value)]
    return caught.value


def test_nothing_is_sent_when_one_of_the_files_is_no_prediction(
    pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path], archive: Any, tmp_path: Path
) -> None:
    site, text, half = pacs_site(**start(pacs)), tmp_path / "CANARY.dcm", tmp_path / "half.dcm"
    text.write_text("CANARY")
    ds = pydicom.dcmread(predictions[0])
    ds.PatientID = ""
    ds.save_as(half, enforce_file_format=True)
    for path, why in (
        (archive.files["new"][0], "neither a DICOM-SEG nor a structured report"),
        (text, "not a DICOM object"),
        (tmp_path / "CANARY-nothing.dcm", "not a DICOM object"),
        (half, "lacks 1 of the values"),
        (predictions[0], "two of the files are the same object"),
    ):
        error = refused([predictions[0], path], site)
        assert (error.code, why in error.what) == ("PACS-OBJECT", True)
    assert pacs.stored == []


def test_outside_of_the_hours_nothing_is_sent(
    pacs: FakePacs, start: Any, pacs_site: Any, predictions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medfl.data.pacs.send.is_allowed", lambda hours: hours != "19-06")
    assert refused(predictions, pacs_site(**start(pacs), hours="19-06")).code == "PACS-HOURS"
    assert pacs.stored == []


# Over DICOMweb


class WebArchive(BaseHTTPRequestHandler):
    """STOW-RS (DICOM PS3.18 10.5), with the answers that a test gives it."""

    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        pacs = self.server
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + self._body()).get_payload()
        (ds,) = [pydicom.dcmread(BytesIO(part.get_payload(decode=True))) for part in parts]  # one object a request
        pacs.logins.append(self.headers.get("Authorization", ""))
        status, kind, body = pacs.answers.pop(0) if pacs.answers else (200, "application/dicom+json", None)
        if body is None:
            pacs.stored.append(ds)
            body = json.dumps(referenced(ds.SOPInstanceUID)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


def referenced(instance: str, **more: Any) -> dict[str, Any]:
    """Return the answer of a PACS that stored an object."""
    return {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [str(instance)]}, **more}]}}


JSON = "application/dicom+json"
FAILED = json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA900]}}]}}).encode()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Any]:
    """Yield a running server, with the `keys` of ``pacs`` for it."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), WebArchive)
    server.stored, server.answers, server.logins = [], [], []
    server.keys = {"kind": "dicomweb", "url": f"http://127.0.0.1:{server.server_port}/dicom-web"}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_each_object_is_posted_as_it_was_written(
    web: Any, pacs_site: Any, predictions: list[Path], report: Path, tmp_path: Path
) -> None:
    (tmp_path / "pacs.login").write_text("medfl\nsecret-word\n")
    (tmp_path / "pacs.login").chmod(0o600)
    answers = send([*predictions, report], pacs_site(**web.keys, credentials_file="pacs.login"))
    assert codes(answers) == ["", "", "", ""]
    assert [ds.SOPInstanceUID for ds in web.stored] == [pydicom.dcmread(p).SOPInstanceUID for p in (*predictions, report)]
    assert web.stored[0] == pydicom.dcmread(predictions[0])
    assert all(login.startswith("Basic ") for login in web.logins)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((409, "text/plain", b"CANARY secret-word"), "HTTP status 409"),
        ((415, "text/html", b""), "HTTP status 415"),
        ((202, JSON, FAILED), "reason 0xA900"),
        ((200, JSON, FAILED), "reason 0xA900"),
        ((200, JSON + "; charset=utf-8", FAILED), "reason 0xA900"),
        ((200, "text/html", b"<p>Log in, CANARY"), "does not say that it did"),
        ((200, JSON, b"{}"), "does not say that it did"),
        ((200, JSON, json.dumps(referenced("1.2.3")).encode()), "does not say that it did"),
    ],
    ids=str,
)
def test_an_object_that_was_not_stored_is_told(
    answer: tuple[int, str, bytes], words: str, web: Any, pacs_site: Any, predictions: list[Path]
) -> None:
    web.answers = [(200, JSON, None), answer]
    answers = send(predictions, pacs_site(**web.keys))
    assert codes(answers) == ["", "PACS-NOT-STORED", ""]
    assert words in str(answers[1].problem)


def test_other_values_are_told_over_the_web_as_well(web: Any, pacs_site: Any, predictions: list[Path]) -> None:
    uid = pydicom.dcmread(predictions[0]).SOPInstanceUID
    warning = {"00081196": {"vr": "US", "Value": [0xB000]}}
    web.answers = [(202, JSON, json.dumps(referenced(uid, **warning)).encode())]
    (answer,) = send(predictions[:1], pacs_site(**web.keys))
    assert (answer.problem, answer.is_changed) == (None, True)


@pytest.mark.parametrize(("status", "code", "tries"), [(401, "PACS-AUTH", 1), (403, "PACS-AUTH", 1), (503, "PACS-REFUSED", 2)])
def test_a_pacs_that_refuses_who_sends_is_told_for_all(
    status: int, code: str, tries: int, web: Any, pacs_site: Any, predictions: list[Path]
) -> None:
    web.answers = [(status, "text/plain", b"secret-word of a proxy")] * 9
    assert codes(send(predictions, pacs_site(**web.keys))) == [code] * 3
    assert len(web.logins) == tries


def test_no_server_at_the_url(pacs_site: Any, free_port: Callable[[], int], predictions: list[Path]) -> None:
    site = pacs_site(kind="dicomweb", url=f"http://127.0.0.1:{free_port()}/dicom-web")
    assert codes(send(predictions, site)) == ["PACS-UNREACHABLE"] * 3
