"""Sites with a PACS, and a small archive for the fake PACSs."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from medfl.data.pacs import attempts
from medfl.data.pacs import pull as pulling
from medfl.data.pacs.pull import PullProgress
from medfl.data.pacs.series_download import SeriesDownload
from medfl.errors import DataError
from medfl.site import Site, ensure_secret, read_site
from medfl.system import ports
from tests.data.pacs.fake_pacs import FakePacs, serve

SLICES = 9


@dataclass(frozen=True)
class Archive:
    """Contents of a PACS: three series of two patients, and a segmentation of the first series."""

    files: dict[str, list[Path]]

    @property
    def datasets(self) -> list[Dataset]:
        return [pydicom.dcmread(path) for paths in self.files.values() for path in paths]


def _dated(date: str, patient: str, modality: str = "CT") -> Callable[[int, Dataset], None]:
    def change(_: int, ds: Dataset) -> None:
        ds.StudyDate, ds.PatientID, ds.Modality = date, patient, modality
        ds.AccessionNumber, ds.SeriesDescription = f"ACC-{patient}", f"{modality} axial"

    return change


@pytest.fixture
def archive(tmp_path: Path, write_series: Any, save_seg: Any) -> Archive:
    """Return two CT series, of 2024 and 2023, one MR series, and a SEG of the first."""
    folder = tmp_path / "archive"
    files = {
        "new": write_series(folder / "new", _dated("20240615", "CANARY-1"), count=SLICES),
        "old": write_series(folder / "old", _dated("20230101", "CANARY-2"), count=SLICES),
        "mr": write_series(folder / "mr", _dated("20240616", "CANARY-2", "MR"), count=SLICES),
    }
    organ = np.zeros((7, 5, SLICES), bool)
    organ[2:4, 1:3, 3:5] = True
    files["seg"] = [save_seg(folder / "seg.dcm", files["new"], {"organ": organ})]
    return Archive(files)


@pytest.fixture
def predictions(archive: Archive, tmp_path: Path) -> list[Path]:
    """Return three segmentations of one series, as files; each is a series of its own, as those of `medfl` are."""
    paths = []
    for number in range(3):
        ds = pydicom.dcmread(archive.files["seg"][0])
        ds.SeriesInstanceUID = generate_uid()
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        paths.append(tmp_path / f"seg-{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


@pytest.fixture
def report(archive: Archive, tmp_path: Path) -> Path:
    """Return a structured report of the same study, as a file."""
    of = archive.datasets[0]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = ComprehensiveSRStorage, generate_uid(), "SR"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.StudyDate, ds.PatientID = of.StudyInstanceUID, of.StudyDate, of.PatientID
    ds.SeriesInstanceUID = generate_uid()
    ds.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    return tmp_path / "report.dcm"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return a function that finds a free port on the loopback address."""
    return ports.find_free_port


@pytest.fixture
def pacs_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Site]:
    """Return a factory of sites with a given table ``pacs``; by default, ``query`` is all CT and SEG of 2024."""
    monkeypatch.setattr(attempts, "BACKOFF_SECONDS", 0.02)

    def make(query: dict[str, Any] | None = None, **pacs: Any) -> Site:
        table = {key.replace("_", "-"): value for key, value in pacs.items()}
        table.setdefault("retries", 1)
        table.setdefault("timeout", 5)
        table["query"] = query or {"modalities": "CT,SEG", "study-dates": "20240101-20241231"}
        values = {"name": "north", "data": {"root": "images", "layout": "dicom"}, "pacs": table}
        (tmp_path / "site.toml").write_text(tomli_w.dumps(values))
        ensure_secret(tmp_path / "site.secret")
        return read_site(tmp_path / "site.toml")

    return make


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[PullProgress], None]]:
    """Return a factory of progress callbacks that press Ctrl-C as soon as some images have arrived."""

    def make(after: int) -> Callable[[PullProgress], None]:
        save, reached, seen = SeriesDownload.save, threading.Event(), []

        def save_or_wait(download: SeriesDownload, content: bytes) -> None:
            seen.append(1)
            if len(seen) == after:
                reached.set()
                assert download.stop.wait(10), "the download was not stopped"
            save(download, content)

        def press(_: PullProgress) -> None:
            if reached.is_set():
                monkeypatch.setattr(SeriesDownload, "save", save)
                raise KeyboardInterrupt

        monkeypatch.setattr(pulling, "_POLL_SECONDS", 0.02)
        monkeypatch.setattr(SeriesDownload, "save", save_or_wait)
        return press

    return make


@pytest.fixture
def refused() -> Callable[[Site], DataError]:
    """Return a function that pulls, expects an error, and checks that its text names no host, UID or person."""

    def expect(site: Site) -> DataError:
        with pytest.raises(DataError) as caught:
            pulling.pull_series(site)
        text = str(caught.value)
        assert not [word for word in ("127.0.0.1", "localhost", "CANARY", "1.2.", "secret-word") if word in text]
        return caught.value

    return expect


@pytest.fixture
def pacs(archive: Archive, free_port: Callable[[], int]) -> FakePacs:
    """Return a PACS that holds the archive."""
    return FakePacs(archive.datasets, free_port())


@pytest.fixture
def start(free_port: Callable[[], int]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that starts such a PACS and returns the keys of ``pacs`` for it."""
    running: list[AE] = []

    def start(pacs: FakePacs, **options: Any) -> dict[str, Any]:
        port = free_port()
        running.append(serve(pacs, port, **options))
        return {"kind": "dimse", "host": "127.0.0.1", "port": port, "ae-title": "PACS"}

    yield start
    for ae in running:
        ae.shutdown()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Return a folder with a certificate for 127.0.0.1 and its key, and with an untrusted certificate and its key."""
    for name in ("pacs", "untrusted"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(True, None), True)
            .sign(key, hashes.SHA256())
        )
        plain = serialization.NoEncryption()
        pem = serialization.Encoding.PEM
        (tmp_path / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        (tmp_path / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    return tmp_path
