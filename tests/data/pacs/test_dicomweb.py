"""Pulls from a fake PACS that speaks DICOMweb on the loopback address."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medfl.data.dicom.series import read_series
from medfl.data.pacs.pull import pull_series
from medfl.site import Site

_TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "Modality": "00080060",
    "StudyDate": "00080020",
    "PatientID": "00100020",
}


class WebPacs(BaseHTTPRequestHandler):
    """QIDO-RS and WADO-RS, with the faults that the attributes of the server switch on."""

    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        pacs, parts = self.server, urlsplit(self.path)
        pacs.paths.append(self.path)
        pacs.logins.append(self.headers.get("Authorization", ""))
        if pacs.status != 200:
            self._answer(pacs.status, "text/plain", b"secret-word of a proxy")
        elif pacs.page:
            self._answer(200, "text/html", pacs.page)
        elif parts.path.endswith("/series"):
            self._search({key: values[0] for key, values in parse_qs(parts.query).items()})
        else:
            self._retrieve(parts.path.split("/")[-1])

    def _answer(self, status: int, kind: str, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _search(self, filters: dict[str, str]) -> None:
        pacs, rows = self.server, []
        for uid in dict.fromkeys(ds.SeriesInstanceUID for ds in pacs.datasets):
            instances = [ds for ds in pacs.datasets if ds.SeriesInstanceUID == uid]
            begin, _, end = filters.get("StudyDate", "0-9").partition("-")
            if instances[0].Modality == filters["Modality"] and begin <= instances[0].StudyDate <= end:
                row = {tag: {"vr": "UI", "Value": [str(instances[0][keyword].value)]} for keyword, tag in _TAGS.items()}
                count = {"00201209": {"vr": "IS", "Value": [len(instances)]}} if pacs.counts else {}
                rows.append({**row, **count})
        offset = int(filters["offset"]) if pacs.has_pages else 0
        page = rows[offset:][: pacs.rows_per_page]
        self._answer(200 if page else 204, "application/dicom+json", json.dumps(page).encode() if page else b"")

    def _retrieve(self, uid: str) -> None:
        pacs = self.server
        if pacs.only_default and "transfer-syntax" in self.headers["Accept"]:
            self._answer(406, "text/plain", b"")
            return
        series = [ds for ds in pacs.datasets if ds.SeriesInstanceUID == uid]
        parts = [_part10(ds) for ds in series[: len(series) - pacs.lost]]
        body = b"".join(b"\r\n--edge\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts) + b"\r\n--edge--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=edge'
        if pacs.truncations:
            pacs.truncations -= 1
            truncated = body[:-50]
            self._answer(200, kind, truncated, len(body) if pacs.sends_length else -1)
        else:
            self._answer(200, kind, body)


def _part10(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture
def web(archive: Any) -> Iterator[Any]:
    """Yield a running server that holds the archive, with the `keys` of ``pacs`` for it."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), WebPacs)
    server.datasets, server.paths, server.logins = archive.datasets, [], []
    server.status, server.page, server.lost, server.truncations = 200, b"", 0, 0
    server.counts, server.has_pages, server.rows_per_page = True, True, 100
    server.only_default, server.sends_length = False, True
    server.keys = {"kind": "dicomweb", "url": f"http://127.0.0.1:{server.server_port}/dicom-web"}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def images_of_series(site: Site) -> list[int]:
    return sorted(len(list(folder.iterdir())) for folder in site.root.glob("study-*/series-*"))


def test_complete_series_are_fetched_with_their_segmentation(
    web: Any, pacs_site: Any, archive: Any, caplog: pytest.LogCaptureFixture
) -> None:
    site = pacs_site(**web.keys)
    with caplog.at_level("DEBUG"):
        pulled = pull_series(site)
    assert (pulled.found, pulled.series, pulled.images) == ((("CT", 1, 9), ("SEG", 1, 1)), 2, 10)
    assert images_of_series(site) == [1, 9]
    (series,) = [folder for folder in site.root.glob("study-*/series-*") if len(list(folder.iterdir())) == 9]
    np.testing.assert_array_equal(read_series(sorted(series.iterdir())).array, read_series(archive.files["new"]).array)
    assert archive.datasets[0].SeriesInstanceUID not in caplog.text
    before = len(web.paths)
    assert pull_series(site).already_present == 2
    assert all(urlsplit(path).path.endswith("/series") for path in web.paths[before:])  # it only searched


@pytest.mark.parametrize(("has_pages", "rows"), [(True, 1), (False, 100)])
def test_all_pages_are_read_and_a_pacs_without_pages_is_not_queried_forever(
    has_pages: bool, rows: int, web: Any, pacs_site: Any
) -> None:
    web.has_pages, web.rows_per_page = has_pages, rows
    site = pacs_site({"modalities": "CT", "study-dates": "20230101-20241231"}, **web.keys)
    assert pull_series(site, dry_run=True).found == (("CT", 2, 18),)
    assert len(web.paths) == (3 if has_pages else 2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_is_not_retried(status: int, web: Any, pacs_site: Any, refused: Any) -> None:
    web.status = status
    error = refused(pacs_site(**web.keys))
    assert (error.code, str(status) in error.what, len(web.paths)) == ("PACS-AUTH", True, 1)


def test_a_failing_pacs_is_retried(web: Any, pacs_site: Any, refused: Any) -> None:
    web.status = 503
    error = refused(pacs_site(**web.keys, retries=2))
    assert (error.code, "503" in error.what, len(web.paths)) == ("PACS-REFUSED", True, 3)


def test_a_portal_instead_of_a_pacs_is_reported(web: Any, pacs_site: Any, refused: Any) -> None:
    web.page = b"<html>secret-word</html>"
    error = refused(pacs_site(**web.keys, retries=0))
    assert (error.code, "not DICOMweb" in error.what) == ("PACS-REFUSED", True)


def test_no_server_at_the_address(pacs_site: Any, refused: Any, free_port: Callable[[], int]) -> None:
    site = pacs_site(kind="dicomweb", url=f"http://127.0.0.1:{free_port()}/dicom-web")
    assert refused(site).code == "PACS-UNREACHABLE"


def test_missing_images_are_counted_and_reported(web: Any, pacs_site: Any) -> None:
    web.lost = 1
    site = pacs_site(**web.keys)
    pulled = pull_series(site)
    assert {problem.code for problem in pulled.problems} == {"PACS-INCOMPLETE"}
    assert sorted(problem.what[:6] for problem in pulled.problems) == ["0 of 1", "8 of 9"]
    assert images_of_series(site) == []
    assert all(problem.case.startswith("series-") for problem in pulled.problems)


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_transfer_truncated_within_an_image_is_retried(sends_length: bool, web: Any, pacs_site: Any) -> None:
    web.truncations, web.sends_length = 1, sends_length
    site = pacs_site({"modalities": "CT", "study-dates": "20240101-20241231"}, **web.keys)
    assert pull_series(site).problems == ()
    (folder,) = site.root.glob("study-*/series-*")
    assert read_series(sorted(folder.iterdir())).shape == (7, 5, 9)  # no truncated image among them
    assert len([path for path in web.paths if "/series/" in path]) == 2


def test_without_counts_whatever_arrives_is_complete(web: Any, pacs_site: Any) -> None:
    web.counts = False
    site = pacs_site(**web.keys)
    assert pull_series(site).images == 10
    assert pull_series(site).already_present == 2


def test_a_pacs_that_only_sends_the_default_syntax_is_understood(web: Any, pacs_site: Any) -> None:
    web.only_default = True
    assert pull_series(pacs_site(**web.keys)).images == 10


def test_ctrl_c_leaves_no_incomplete_series(web: Any, pacs_site: Any, interrupt: Any) -> None:
    site = pacs_site(**web.keys, max_parallel=2)
    with pytest.raises(KeyboardInterrupt):
        pull_series(site, progress=interrupt(after=4))
    assert images_of_series(site) in ([], [1])
    assert not (site.root / ".pull").exists()
    assert pull_series(site).problems == ()
    assert images_of_series(site) == [1, 9]


def test_user_and_password_come_from_the_environment(
    web: Any, pacs_site: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = pacs_site(**web.keys, user_env="MY_USER", password_env="MY_PASSWORD")
    assert refused(site).code == "PACS-CREDENTIALS"
    monkeypatch.setenv("MY_USER", "reader")
    monkeypatch.setenv("MY_PASSWORD", "secret-word")
    pull_series(site, dry_run=True)
    assert web.logins[-1] == "Basic " + base64.b64encode(b"reader:secret-word").decode()


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (None, 0o600, "cannot be read"),
        ("reader\nsecret-word\n", 0o640, "0600"),
        ("reader\n", 0o600, "second"),
        ("reader\nsecret-word\n", 0o600, ""),
    ],
)
def test_a_file_with_the_password_must_be_private(
    text: str | None, mode: int, message: str, web: Any, pacs_site: Any, refused: Any, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "login").write_text(text)
        (tmp_path / "login").chmod(mode)
    site = pacs_site(**web.keys, credentials_file="login")
    if message:
        error = refused(site)
        assert (error.code, message in error.what, web.paths) == ("PACS-CREDENTIALS", True, [])
    else:
        assert pull_series(site, dry_run=True).series == 2


def test_no_proxy_of_the_environment_sees_the_images(web: Any, pacs_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert pull_series(pacs_site(**web.keys)).series == 2


def test_an_untrusted_certificate_is_refused(web: Any, pacs_site: Any, refused: Any, certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "pacs.crt", certificates / "pacs.key")
    web.socket = context.wrap_socket(web.socket, server_side=True)
    keys = web.keys | {"url": web.keys["url"].replace("http:", "https:")}
    assert refused(pacs_site(**keys)).code == "PACS-TLS"
    assert refused(pacs_site(**keys, ca_file="untrusted.crt")).code == "PACS-TLS"
    assert pull_series(pacs_site(**keys, ca_file="pacs.crt")).series == 2
