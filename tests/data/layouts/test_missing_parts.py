"""A file that may be a missing part of a series costs the series; what is no image of the study costs nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from tests.data.layouts.dicom_export import errors, put, warnings

Read = Callable[..., Cohort]


def rewrite(path: Path, **values: Any) -> None:
    ds = pydicom.dcmread(path)
    put(**values)(0, ds)
    ds.save_as(path)


def lose_series(path: Path) -> None:
    rewrite(path, SeriesInstanceUID=None)


def compress(path: Path) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda path: path.write_bytes(b""), "DCM-READ"),
        (lambda path: path.write_bytes(bytes(900)), "DCM-READ"),
        (lambda path: path.write_bytes(path.read_bytes()[:131]), "DCM-READ"),
        (lambda path: path.write_bytes(b"<html>502 Bad Gateway</html>"), "DCM-READ"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "DCM-READ"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(90)), "DATA-ARCHIVE"),
        (compress, "DATA-ARCHIVE"),
        (lambda path: path.rename(path.with_name(f"{path.name}.zip")), "DATA-ARCHIVE"),
        (lambda path: path.write_bytes(path.read_bytes()[132:]), "DCM-NONE"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "DCM-READ"),
        (lambda path: (path.rename(path.parents[2] / path.name), path.symlink_to(path.parents[2] / path.name)), "INDEX-PATH"),
        (lambda path: rewrite(path, Modality=None, SOPClassUID=None), "DCM-HEADER"),
        (lambda path: rewrite(path, Modality="OT"), "DCM-HEADER"),
        (lambda path: rewrite(path, Modality="PT"), "DCM-HEADER"),
        (lose_series, "DCM-HEADER"),
    ],
)
@pytest.mark.parametrize("layout", ["dicom", "folders"])
def test_slices_that_cannot_be_read_cost_their_series(
    damage: Callable[[Path], object], code: str, layout: str, root: Path, write_series: Any, read: Read
) -> None:
    whole = write_series(root / "a", put(PatientID="a"), count=12)
    broken = write_series(root / "b", put(PatientID="b"), count=20)
    for path in broken[12:]:  # at the end, where no gap shows
        damage(path)
    cohort = read(layout=layout)
    assert [set(case.image.paths) for case in cohort.cases] == [set(whole)]
    # images without a series are a case of their own, or a second one in the folder of the patient
    assert errors(cohort) in ({code: 1}, {code: 2}, {"DCM-SERIES": 1})
    assert errors(cohort)["DCM-SERIES"] == (layout == "folders" and damage is lose_series)


def to_subfolder(path: Path) -> Path:
    (path.parent / "lost").mkdir(exist_ok=True)
    return path.rename(path.parent / "lost" / path.name)


def to_sibling(path: Path) -> Path:
    (path.parents[1] / "lost").mkdir(exist_ok=True)
    return path.rename(path.parents[1] / "lost" / path.name)


MOVES: tuple[Callable[[Path], Path], ...] = (
    lambda path: path,
    to_subfolder,
    to_sibling,
    lambda path: path.rename(path.with_suffix(".txt")),
    lambda path: path.rename(path.with_name(f"{path.name}.part")),
    lambda path: path.rename(path.with_name(f".{path.name}.Xk2pQ9")),  # rsync
)


@pytest.mark.parametrize(
    ("move", "content"),
    [*((move, b"") for move in MOVES), *((move, b"<html>502 Bad Gateway</html>") for move in (to_subfolder, to_sibling))],
)
def test_a_dead_part_costs_its_series_wherever_it_was_put(
    move: Callable[[Path], Path], content: bytes, root: Path, write_series: Any, read: Read
) -> None:
    whole = write_series(root / "a", put(PatientID="a"), count=12)
    broken = write_series(root / "b" / "ct", put(PatientID="b"), count=12)
    for path in broken[-2:]:
        move(path).write_bytes(content)
    cohort = read()
    if move is to_sibling:  # it may have been a series of its own: that is told
        assert (len(cohort.cases), errors(cohort), warnings(cohort)["DCM-READ"]) == (2, {}, 1)
        return
    assert [set(case.image.paths) for case in cohort.cases] == [set(whole)]
    assert errors(cohort) == {"DCM-READ": 1}


@pytest.mark.parametrize("move", MOVES)
def test_an_index_that_names_the_folder_hears_of_it_too(
    move: Callable[[Path], Path], root: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    for name in "ab":
        series = write_series(root / name, put(PatientID=name), count=12)
    move(series[-1]).write_bytes(b"")
    (root / "index.csv").write_text("image,patient,label\na,a,x\nb,b,y\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    cohort = read_cohort(make_site(root), study)
    told = (2, {}, 1) if move is to_sibling else (1, {"DCM-READ": 1}, 0)
    assert (len(cohort.cases), errors(cohort), warnings(cohort)["DCM-READ"]) == told


TEXT = b"The patient was asked to hold the breath.\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("12.txt", TEXT),
        ("9.txt", "Überlagerung".encode("utf-16")),
        ("9.roi", b"Iout\0\xe3\x07\0"),
        ("9.info", TEXT),
        ("../9", TEXT),
        ("../notes/9", TEXT),
        ("notes/9", TEXT),
        ("2024.zip", b"PK\x03\x04" + bytes(90)),
        ("3 (1)", b""),
        ("3 - Copy", b""),
    ],
)
@pytest.mark.parametrize("layout", ["dicom", "csv"])
def test_what_is_no_slice_costs_nothing_though_its_name_takes_a_number(
    name: str, content: bytes, layout: str, root: Path, write_series: Any, read: Read, make_site: Any, make_study: Any
) -> None:
    for patient in "ab":
        for n, path in enumerate(write_series(root / patient / "ct", put(PatientID=patient)), start=1):
            path.rename(path.with_name(str(n)))
    (root / "a" / "ct" / name).parent.resolve().mkdir(exist_ok=True)
    (root / "a" / "ct" / name).resolve().write_bytes(content)
    if layout == "dicom":
        cohort = read()
    else:
        (root / "index.csv").write_text("image,patient,label\na/ct,a,x\nb/ct,b,y\n")
        study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
        cohort = read_cohort(make_site(root), study)
    assert (len(cohort.cases), errors(cohort), warnings(cohort)["DCM-READ"]) == (2, {}, 0)


def test_a_page_or_nothing_in_the_place_of_a_slice_costs_the_series(root: Path, write_series: Any, read: Read) -> None:
    for patient, content in (("a", b"<html>502 Bad Gateway</html>"), ("b", b"")):
        for n, path in enumerate(write_series(root / patient, put(PatientID=patient)), start=1):
            path.rename(path.with_name(str(n)))
        (root / patient / "9.txt").write_bytes(content)
    assert errors(read()) == {"DCM-READ": 2}


def test_a_series_that_is_wholly_lost_is_told_and_costs_no_other_whose_numbers_it_continues(
    root: Path, write_series: Any, read: Read
) -> None:
    for patient in "ab":
        for n, path in enumerate(write_series(root / patient / "ct", put(PatientID=patient)), start=1):
            path.rename(path.with_name(f"IM{n:04d}"))
        (root / patient / "ct2").mkdir()
        for n in range(9, 17):
            (root / patient / "ct2" / f"IM{n:04d}").write_bytes(b"")
    cohort = read()
    assert (len(cohort.cases), errors(cohort), warnings(cohort)) == (2, {}, {"DCM-READ": 1})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README", b"an export"),
        ("index.html", b"<html>"),
        ("dose.pdf", b"%PDF"),
        ("empty.txt", b""),
        ("0-0.jpg", b"preview"),
        ("0-0.dcm.bak", b""),  # a copy of a file that is there
        ("5-1.dcm.gz", b"\x1f\x8b"),
        (".5-9.dcm", b""),
        ("Thumbs.db", b"x"),
    ],
)
def test_what_else_lies_beside_slices_costs_nothing(
    name: str, content: bytes, root: Path, write_series: Any, read: Read
) -> None:
    for patient in "ab":
        write_series(root / patient, put(PatientID=patient))
    (root / "a" / name).write_bytes(content)
    cohort = read()
    assert (len(cohort.cases), errors(cohort)) == (2, {})


@pytest.mark.parametrize("name", ["MD5SUMS", "sha256sum", "README2"])
def test_a_list_of_checksums_is_no_slice_though_slices_are_named_by_numbers(
    name: str, root: Path, write_series: Any, read: Read
) -> None:
    for patient in "ab":
        for n, path in enumerate(write_series(root / patient, put(PatientID=patient))):
            path.rename(path.with_name(f"{1000 + n}"))
        (root / patient / name).write_bytes(b"d41d8cd98f00b204e9800998ecf8427e  1000\n")
    assert not [finding for finding in read().findings if finding.code == "DCM-READ"]
