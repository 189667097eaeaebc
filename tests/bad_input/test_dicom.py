"""Bad DICOM series: each is reported with its code and a remedy, and the good series next to it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import SecondaryCaptureImageStorage, UltrasoundImageStorage, generate_uid

from medfl.data.store.prepare import prepare_cases
from medfl.errors import DataError
from tests.bad_input.hospital import STEP, Hospital, check_problem, study_of

Make = Callable[[Hospital], object]
CT = study_of("classification")
EVEN = tuple(k * STEP for k in range(10))
PLANES = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])


def without(*keywords: str) -> Callable[[int, Dataset], object]:
    return lambda k, ds: [delattr(ds, keyword) for keyword in keywords]


def put(**values: Any) -> Callable[[int, Dataset], object]:
    return lambda k, ds: [setattr(ds, keyword, value) for keyword, value in values.items()]


def on_slice(number: int, change: Callable[[int, Dataset], object]) -> Callable[[int, Dataset], object]:
    return lambda k, ds: change(k, ds) if k == number else None


def echoes(k: int, ds: Dataset) -> None:
    ds.EchoTime = (10, 20, 30)[k // 10]


def planes(k: int, ds: Dataset) -> None:
    ds.ImageOrientationPatient = PLANES[k // 4]


def localizer(k: int, ds: Dataset) -> None:
    if k == 10:
        ds.ImageType, ds.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], PLANES[1]


def compressed(k: int, ds: Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    ds.PixelData = encapsulate([b"\xff\xd8\xff\xc1" + bytes(60)])
    ds["PixelData"].is_undefined_length = True


def short(k: int, ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[:40]


def of_kind(uid: str, modality: str) -> Callable[[int, Dataset], object]:
    def change(k: int, ds: Dataset) -> None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid
        ds.Modality = modality

    return change


def positive(k: int, ds: Dataset) -> None:
    ds.RescaleIntercept = "0"
    ds.PixelData = np.random.default_rng(k).integers(0, 4096, (10, 12)).astype("<u2").tobytes()


def same_uid(k: int, ds: Dataset) -> None:
    if k == 3:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.7"
    if k == 4:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.7"


GONE = (*EVEN[:4], *EVEN[6:])
UNEVEN = (0, 2.5, 5, 7.5, 12.5, 17.5, 22.5, 27.5, 32.5, 37.5)
ERRORS: dict[str, tuple[Make, str, list[str]]] = {
    "1 slices are missing": (
        lambda h: h.series("x", places=GONE),
        "DCM-MISSING-SLICES",
        [r"2 slice\(s\) missing: 2 between \d+\.\d+ and \d+\.\d+ mm", r"expected every 2\.5 mm, 8 of 10 present", "PACS"],
    ),
    "2 several volumes": (
        lambda h: h.series("x", echoes, places=EVEN * 3),
        "DCM-MULTIVOLUME",
        [r"3 volumes that differ in EchoTime \(10(\.0)?, 20(\.0)?, 30(\.0)?\)", "EchoTime=10", "channels"],
    ),
    "4 several orientations": (
        lambda h: h.series("x", planes, places=(*EVEN, 25.0, 27.5)),
        "DCM-ORIENT",
        ["3 different slice orientations", "orientation", "axial"],
    ),
    "5 a tilted gantry": (
        lambda h: h.series("x", tilt=15.0),
        "DCM-GANTRY-TILT",
        [r"gantry tilt of 15\.0 degrees", r"sheared by 6(\.\d)? mm", 'gantry-tilt = "resample"'],
    ),
    "6 uneven slices": (
        lambda h: h.series("x", places=UNEVEN),
        "DCM-SPACING",
        [r"not uniform: 2\.5 to 5 mm", 'nonuniform = "resample"'],
    ),
    "7 slices twice": (
        lambda h: h.series("x", places=EVEN * 2),
        "DCM-DUP-POSITION",
        [
            r"10 slice position\(s\) occur more than once",
            "none of the attributes that medfl reads separates the copies",
            "export the series again",
        ],
    ),
    "8 an unknown compression": (
        lambda h: h.series("x", compressed),
        "DCM-CODEC",
        [r"JPEG Extended", r"no installed decoder can read", r"flwr-medfl\[dicom-gpl\]", "uncompressed"],
    ),
    "9 cut pixel data": (
        lambda h: h.series("x", on_slice(3, short)),
        "DCM-TRUNCATED",
        [r"pixel data of 1 image", "shorter than (its|the) header says", "Export the series again"],
    ),
    "10 no geometry": (
        lambda h: h.series("x", without("ImagePositionPatient")),
        "DCM-NO-GEOMETRY",
        ["ImagePositionPatient missing in 10 of 10 images", "dimension = 2"],
    ),
    "one slice of another size": (
        lambda h: h.series("x", on_slice(2, put(Rows=5, PixelData=bytes(2 * 5 * 12)))),
        "DCM-MATRIX",
        ["different matrix size", "9 of 10x12, 1 of 5x12"],
    ),
    "two files of one identifier": (
        lambda h: h.series("x", same_uid),
        "DCM-DUP-UID",
        ["same SOPInstanceUID", "PACS"],
    ),
    "an orientation that is none": (
        lambda h: h.series("x", put(ImageOrientationPatient=[1, 0, 0, 0.2, 1, 0])),
        "DCM-IOP",
        ["perpendicular unit vectors"],
    ),
    "pixels of two sizes": (
        lambda h: h.series("x", on_slice(4, put(PixelSpacing=[1.0, 1.0]))),
        "DCM-PIXELSPACING",
        ["PixelSpacing differs between images"],
    ),
    "a slice beside the others": (
        lambda h: h.series("x", on_slice(4, put(ImagePositionPatient=[4.0, 0.0, 10.0]))),
        "DCM-SHIFT",
        [r"shifted against each other by up to 4 mm"],
    ),
    "few slices": (lambda h: h.series("x", places=EVEN[:5]), "DCM-FEW-SLICES", [r"only 5 slice\(s\)", "8"]),
    "colour images": (
        lambda h: h.series("x", put(SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=bytes(720))),
        "DCM-COLOR",
        ["greyscale series"],
    ),
    "objects that are no images": (
        lambda h: h.series("x", of_kind("1.2.840.10008.5.1.4.1.1.11.1", "PR")),
        "IMG-MISSING",
        ["holds no DICOM image"],
    ),
    "secondary captures": (
        lambda h: h.series("x", of_kind(SecondaryCaptureImageStorage, "OT")),
        "DCM-SOPCLASS",
        ["10 of 10", "SOP class that cannot be used here", "secondary capture"],
    ),
    "ultrasound": (
        lambda h: h.series("x", of_kind(UltrasoundImageStorage, "US")),
        "DCM-SOPCLASS",
        ["10 of 10", "SOP class that cannot be used here", "ultrasound"],
    ),
}


@pytest.mark.parametrize("what", ERRORS)
def test_a_bad_series_is_left_out_with_its_code_and_a_remedy(what: str, hospital: Hospital) -> None:
    make, code, words = ERRORS[what]
    hospital.series("good")
    make(hospital)
    prepared = hospital.prepared(CT)
    errors = [finding for finding in prepared.findings if finding.level == "error"]
    assert [finding.code for finding in errors] == [code], [str(finding) for finding in errors]
    check_problem(errors[0], code, words, hospital.folder)
    assert errors[0].case.startswith("case-")
    assert len(prepared.cases) == 1


WARNINGS: dict[str, tuple[Make, str, list[str]]] = {
    "3 a localizer": (
        lambda h: h.series("x", localizer, places=(*EVEN, 99.0)),
        "DCM-LOCALIZER",
        [r"1 localizer image\(?s?\)? in the series", "left out"],
    ),
    "12 values that are no Hounsfield units": (
        lambda h: h.series("x", positive),
        "CT-HU",
        ["Hounsfield", "values run from 4 to 4092, but", "-1000", "RescaleIntercept", "export the original"],
    ),
}


@pytest.mark.parametrize("what", WARNINGS)
def test_an_odd_series_is_reported_and_used(what: str, hospital: Hospital) -> None:
    make, code, words = WARNINGS[what]
    make(hospital)
    prepared = hospital.prepared(CT)
    (finding,) = [f for f in prepared.findings if f.code not in ("SITE-ONE-PATIENT", "LBL-NO-CLASS")]
    assert finding.level == "warning"
    check_problem(finding, code, words, hospital.folder)
    assert len(prepared.cases) == 1


def test_11_files_without_the_preamble_are_counted(hospital: Hospital) -> None:
    for name in ("a", "b"):
        for path in hospital.series(name, listed=False).iterdir():
            path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(DataError) as caught:
        prepare_cases(hospital.site(layout="dicom"), study_of("segmentation"))
    words = ["no DICOM series found in 20 files", "20 files look like DICOM without the 128-byte header", "allow-headerless"]
    check_problem(caught.value, "DCM-NONE", words, hospital.folder)


@pytest.mark.parametrize("kind", ["US", "SC"])
def test_kinds_of_images_that_often_hold_names_are_left_out_unless_the_site_allows_them(kind: str, hospital: Hospital) -> None:
    uid = UltrasoundImageStorage if kind == "US" else SecondaryCaptureImageStorage
    flat = study_of("classification", "US", 2)
    for name, place in (("a", 0.0), ("b", 10.0)):
        folder = hospital.series(name, of_kind(uid, "US" if kind == "US" else "OT"), places=[place], listed=False)
        hospital.row(folder / "0.dcm", "well")
    findings = [finding for finding in hospital.prepared(flat).findings if finding.level == "error"]
    check_problem(findings[0], "BURNED-IN", ["1 .+ may have names burned in; they are left out", "burned-in", "site.toml"])
    assert len(findings) == 2
    assert len(hospital.prepared(flat, burned_in="allow").cases) == 2


def test_two_series_in_the_folder_of_a_case(hospital: Hospital) -> None:
    hospital.series("good")
    hospital.series("x", lambda k, ds: setattr(ds, "SeriesInstanceUID", UIDS[k % 2]))
    errors = [finding for finding in hospital.prepared(CT).findings if finding.level == "error"]
    check_problem(errors[0], "DCM-SERIES", ["2 series"], hospital.folder)


UIDS = [generate_uid(), generate_uid()]
