"""Hospitals with a canary in every identifying attribute, and a search that finds canaries anywhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset

from medfl.data.patient_ids import join_issuer
from medfl.data.pseudonyms import split_order
from medfl.data.synthetic.brain import Head
from medfl.data.synthetic.dicom_writing import write_dicom
from medfl.site import ensure_secret
from tests.privacy import pictures

MARK = "ZQXCAN"  # nothing else in a run can hold it by chance
NAME = MARK.title()  # as people write names of people
CLASS = "ZQXSEGMENT"  # the name of a class, which a site that infers its classes is told on its own screen
SEED = 5
_UID, _CANARY_UID = "1.2.826.0.1.3680043.8.498.", "1.2.840.994137.31337."
_TEXTS = re.findall(
    r"\w+",
    """
    PatientComments AdditionalPatientHistory MedicalRecordLocator EthnicGroup Occupation PatientBirthName
    PatientMotherBirthName PatientAddress PatientTelephoneNumbers MilitaryRank CountryOfResidence
    RegionOfResidence IssuerOfPatientID AccessionNumber StudyID InstitutionName InstitutionAddress
    InstitutionalDepartmentName StationName DeviceSerialNumber OperatorsName PerformingPhysicianName
    PhysiciansOfRecord NameOfPhysiciansReadingStudy RequestingPhysician StudyDescription SeriesDescription
    ProtocolName ImageComments RequestedProcedureDescription PerformedProcedureStepDescription
    RequestedProcedureID RequestedProcedureComments ScheduledProcedureStepDescription
    PatientReligiousPreference ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers
    PerformedProcedureStepID AdmittingDiagnosesDescription DerivationDescription AdmissionID
    CurrentPatientLocation DeidentificationMethod SequenceName ScanOptions
    """,
)
_DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate")
_NUMBERS = {"PatientWeight": "71.3137421", "PatientSize": "1.7313742"}
_NUMBER = "313133"  # as long as the mark, which takes its place where only a number is allowed
_POLICY = "[policy]\nmin-count = 0\nmin-cases = 1\nmax-excluded = 1.0\npreviews = true\n"
_DATE, _TIME, _UMLAUT = "19330713", "031337.421337", "Zqxümläut^Dr"


@dataclass
class Canaries:
    """Canaries, each with the name of the attribute that it was planted in, and the folder of the files that hold them."""

    folder: Path
    wanted: dict[bytes, str] = field(default_factory=dict)

    def add(self, name: str, text: str) -> None:
        """Look for a text in every way in which a program could write it."""
        forms = {text.encode(code) for code in ("utf-8", "latin-1", "utf-16-le")} | {json.dumps(text)[1:-1].encode()}
        self.wanted |= {form.lower(): name for form in forms}

    def add_patient(self, site: str, number: str, issuer: str) -> None:
        """Look for what anybody could compute of a patient number, too: it names the patient as well as the number itself."""
        for text in (number, join_issuer(number, issuer)):
            for kind in ("md5", "sha1", "sha256"):
                self.wanted[hashlib.new(kind, text.encode()).hexdigest()[:16].encode()] = f"{kind} of PatientID"
            self.wanted[split_order(SEED, site, text)[:16].encode()] = "order of the patient"

    def found_in(self, content: bytes) -> set[str]:
        """Return the names of the canaries in some bytes, and in whatever is compressed or coded in them."""
        lowered = [layer.lower() for layer in _layers(content)]
        return {name for form, name in self.wanted.items() if any(form in layer for layer in lowered)}

    def found_below(self, folder: Path) -> dict[str, set[str]]:
        """Search every file below a folder, and the names of files and folders."""
        found = {}
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            names = self.found_in(name.encode()) | (self.found_in(path.read_bytes()) if path.is_file() else set())
            found |= {name: names} if names else {}
        return found


def _layers(content: bytes) -> Iterator[bytes]:
    yield content
    yield from _inflated(content)
    if content[:2] == b"\x1f\x8b":
        try:
            yield gzip.decompress(content)
        except (EOFError, OSError, zlib.error):
            return
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    for text in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content):
        yield from _layers(base64.b64decode(text))  # a picture inside a page


def _inflated(content: bytes) -> Iterator[bytes]:
    """Yield what zlib streams inside hold, as the chunks of a PNG do."""
    for found in re.finditer(rb"x[\x01\x5e\x9c\xda]", content):
        try:
            yield zlib.decompressobj().decompress(content[found.start() :])
        except zlib.error:
            continue


def _head(number: int) -> Head:
    rng = np.random.default_rng(number)
    image = rng.integers(50, 200, (24, 20, 12)).astype(np.uint16)
    label = np.zeros(image.shape, np.uint8)
    label[4:12, 4:12, 1:11], label[12:18, 8:14, 2:9] = 1, 2
    return Head(image + label * np.uint16(200), label, np.diag([1.0, 1.0, 2.0, 1.0]))


def _plant(ds: Dataset, keyword: str, value: object) -> None:
    setattr(ds, keyword, value)


def _spoil_identity(ds: Dataset, number: str) -> None:
    for keyword in _TEXTS:
        _plant(ds, keyword, f"{MARK} {keyword}"[:16])
    for keyword in _DATES:
        _plant(ds, keyword, _DATE)
        _plant(ds, keyword.replace("Date", "Time"), _TIME)
    for keyword, value in _NUMBERS.items():
        _plant(ds, keyword, value)
    ds.SpecificCharacterSet, ds.ReferringPhysicianName = "ISO_IR 100", _UMLAUT
    ds.PatientID, ds.OtherPatientIDs, ds.PatientName = number, f"{MARK}-OTHER", f"{MARK}^{number}"
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = f"{MARK}-SEQUENCE", MARK
    ds.OtherPatientIDsSequence = [other]
    ds.PatientAge = "094Y"
    ds.add_new((0x6000, 0x0022), "LO", f"{MARK} OVERLAY")
    ds.add_new((0x5000, 0x0022), "LO", f"{MARK} CURVE")
    ds.private_block(0x0011, f"{MARK} PRIVATE", create=True).add_new(0x01, "LO", f"{MARK} PRIVATE")
    for element in ds.iterall():
        if element.VR == "UI" and str(element.value).startswith(_UID):
            element.value = _CANARY_UID + str(element.value).removeprefix(_UID)[:30]
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID


def _dicom_patient(root: Path, canaries: Canaries, number: int) -> Path:
    """Write a patient, plant the canaries and rename everything after them."""
    write_dicom(root, _head(number), SEED, number)
    own = f"{MARK}-{root.parent.name}-{number}"
    canaries.add_patient(root.parent.name, own, f"{MARK} IssuerOfPatientID"[:16])
    for path in sorted((root / f"SYN{number:04d}").rglob("*.dcm")):
        change(path, lambda ds: _spoil_identity(ds, own))
        path.rename(path.with_name(f"{MARK}_{path.name}"))
    return (root / f"SYN{number:04d}").rename(root / own)


def change(path: Path, how: Callable[[Dataset], object]) -> None:
    """Change a DICOM file, to what no standard allows if need be."""
    with config.disable_value_validation():
        ds = pydicom.dcmread(path)
        how(ds)
        ds.save_as(path)


def cut(path: Path, share: float) -> None:
    """Leave only the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def _dicom_site(folder: Path, canaries: Canaries) -> None:
    patients = [_dicom_patient(folder / "data", canaries, number) for number in range(1, 11)]
    slices = [sorted((patient / "MR").iterdir()) for patient in patients]
    slices[4][3].unlink()
    cut(slices[5][2], 0.8)
    change(next((patients[6] / "SEG").iterdir()), lambda ds: _plant(ds.SegmentSequence[0], "SegmentLabel", CLASS))
    for path in slices[7]:
        change(path, lambda ds: _plant(ds, "StudyInstanceUID", f"{MARK}.UID"))
        change(path, lambda ds: _plant(ds, "PatientID", f"{MARK}-LONG-" + "X" * 70))
        change(path, lambda ds: _plant(ds, "AcquisitionNumber", _NUMBER))
        path.write_bytes(path.read_bytes().replace(_NUMBER.encode(), MARK.encode()))
    change(slices[8][1], lambda ds: _plant(ds, "PixelSpacing", [_NUMBER, _NUMBER]))
    slices[8][1].write_bytes(slices[8][1].read_bytes().replace(_NUMBER.encode(), MARK.encode()))
    cut(slices[9][0], 0.1)


def _save_nifti(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    for key in ("descrip", "db_name", "aux_file", "intent_name"):
        image.header[key] = f"{MARK} {key}"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"{MARK} extension".encode()))
    nibabel.save(image, path)
    return path


def _nifti_patient(folder: Path, number: int, ending: str = ".nii.gz") -> list[Path]:
    head = _head(number)
    files = {f"{MARK}_image": head.image.astype(np.float32), f"{MARK}_label": head.label}
    return [_save_nifti(folder / f"{name}{ending}", array, head.affine) for name, array in files.items()]


def _folders_site(folder: Path) -> None:
    pairs = [_nifti_patient(folder / "data" / f"{MARK}-{number}", number) for number in range(1, 9)]
    cut(pairs[4][0], 0.5)
    head = _head(6)
    _save_nifti(pairs[5][0], np.full(head.image.shape, np.nan, np.float32), head.affine)
    pairs[6][1].unlink()
    _save_nifti(pairs[7][1], head.label * np.uint8(9), head.affine)


def _csv_site(folder: Path) -> None:
    rows = [f"image,label,patient,{MARK},Reader {NAME}"]
    for number in range(1, 7):
        image, label = _nifti_patient(folder / "data" / f"{MARK}{number}", number, ".nii")
        rows.append(f"{MARK}{number}/{image.name},{MARK}{number}/{label.name},{MARK} patient {number},{MARK} note")
    cut(folder / "data" / f"{MARK}5" / f"{MARK}_label.nii", 0.4)
    rows.append(f"{MARK}/{MARK}.nii,{MARK}/gone.nii,{MARK} patient 7,")
    rows.append(f"../{MARK}.nii,/{MARK}/gone.nii,{MARK} patient 8,")
    (folder / "data" / "index.csv").write_text("\n".join(rows))


def _pictures_site(folder: Path) -> None:
    pictures.fill(folder / "data", MARK, CLASS)
    (folder / "site.toml").write_text(f'name = "pictures"\n[data]\nroot = "data"\n{_POLICY}')
    ensure_secret(folder / "site.secret")


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Canaries:
    """Return four hospitals with good and broken cases, and a fifth that cannot take part at all."""
    root = tmp_path_factory.mktemp("hospitals")
    canaries = Canaries(root)
    for name in ("north", "east", "south", "west", "lost"):
        (root / name / "data").mkdir(parents=True)
        (root / name / "site.toml").write_text(f'name = "{name}"\n[data]\nroot = "data"\n{_POLICY}')
        ensure_secret(root / name / "site.secret")
    _dicom_site(root / "north", canaries)
    for number in range(1, 5):
        _dicom_patient(root / "east" / "data", canaries, number)
    (root / "east" / "site.toml").write_text(
        (root / "east" / "site.toml").read_text().replace("[data]", '[data]\nlayout = "folders"')
    )
    _folders_site(root / "south")
    _csv_site(root / "west")
    _pictures_site(root.parent / f"{root.name}-pictures")
    # without a header, and one of its cells is what a column may be called
    (root / "lost" / "data" / "index.csv").write_text(f"{MARK}0.png,{NAME} Doe,case\n{MARK}1.png,Anna {NAME},control\n")
    canaries.add("text", MARK)
    canaries.add("class", CLASS)
    canaries.add("uid", _CANARY_UID)
    canaries.add("date", _DATE)
    canaries.add("date", f"{_DATE[:4]}-{_DATE[4:6]}-{_DATE[6:]}")
    canaries.add("time", _TIME)
    canaries.add("umlaut", _UMLAUT.split("^")[0])
    for keyword, value in _NUMBERS.items():
        canaries.add(keyword, value)
    return canaries
