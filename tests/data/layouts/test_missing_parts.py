"""A file that may be a missing part of a series costs the series; what is no image of the study costs nothing."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RawDataStorage,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
)

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.layouts.missing_parts import ImagePlaces
from medfl.data.load import load_case
from medfl.errors import DataError

Read = Callable[..., Cohort]


def errors(cohort: Cohort) -> Counter[str]:
    return Counter(finding.code for finding in cohort.findings if finding.level == "error")


def warnings(cohort: Cohort) -> Counter[str]:
    return Counter(finding.code for finding in cohort.findings if finding.level == "warning")


def put(**values: Any) -> Callable[[int, Dataset], None]:
    """Return a change that sets attributes; None deletes one."""

    def change(k: int, ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)
            if value is None:
                delattr(ds, keyword)

    return change


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def read(root: Path, make_site: Any, make_study: Any) -> Read:
    """Return a reader of the site's cohort for a study of the classes x and y; the patients are named by their order."""

    def read_it(patients: str = "ab", **data: Any) -> Cohort:
        rows = "".join(f"{name},{'xy'[n % 2]}\n" for n, name in enumerate(patients))
        (root / "index.csv").write_text("patient,label\n" + rows)
        study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
        return read_cohort(make_site(root, **{"layout": "dicom", **data}), study)

    return read_it


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


def test_a_modality_that_says_nothing_does_not_make_an_image_disappear(root: Path, write_series: Any, read: Read) -> None:
    write_series(root / "a", put(PatientID="a"))
    write_series(root / "b", put(PatientID="b", Modality="OT"))
    write_series(root / "c", put(PatientID="c", Modality=None))  # its SOP class is that of CT
    cohort = read("abc")
    assert (len(cohort.cases), errors(cohort)) == (2, {"DCM-HEADER": 1})


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


def places(*names: str, unread: Iterable[str] = ()) -> ImagePlaces:
    """Return places of images from ``path=series``."""

    class Item:
        def __init__(self, path: str) -> None:
            self.path_text = path

    images = [(Item(path), series) for path, series in (name.split("=") for name in names)]
    return ImagePlaces(images, unread)  # type: ignore[arg-type]


NUMBERED = places(*(f"d/IM{k:03d}={'ABC'[k // 10]}" for k in range(30) if k not in (14, 19, 20, 29)))
MIXED = places("d/3.dcm=A", "d/1.dcm=A", "d/2.dcm=B", "d/5.dcm=B", "d/6.dcm=A", "d/scout.dcm=C")
SPREAD = places("r/01/x1=A", "r/02/x2=A", "r/04/x4=A", "r/05/x1=B", "r/06/x2=B", "q/07/x1=C")


@pytest.mark.parametrize("name", ["MD5SUMS", "sha256sum", "README2"])
def test_a_list_of_checksums_is_no_slice_though_slices_are_named_by_numbers(
    name: str, root: Path, write_series: Any, read: Read
) -> None:
    for patient in "ab":
        for n, path in enumerate(write_series(root / patient, put(PatientID=patient))):
            path.rename(path.with_name(f"{1000 + n}"))
        (root / patient / name).write_bytes(b"d41d8cd98f00b204e9800998ecf8427e  1000\n")
    assert not [finding for finding in read().findings if finding.code == "DCM-READ"]


@pytest.mark.parametrize(
    ("where", "path", "expected"),
    [
        (NUMBERED, "d/IM014", "B"),  # between two slices of one series
        (NUMBERED, "d/IM019", "BC"),  # at the border of two
        (NUMBERED, "d/IM029", "C"),
        (NUMBERED, "d/IM014.gz", "B"),
        (NUMBERED, "d/im014.dcm.part", "B"),
        (NUMBERED, "d/README", ""),
        (NUMBERED, "d/other.dcm", ""),  # named as DICOM, but like none of the three
        (NUMBERED, "e/IM014", "B"),  # in a folder of its own, by a number that is free
        (NUMBERED, "e/IM029", ""),  # or the first of a series of its own
        (NUMBERED, "e/IM013", ""),
        (NUMBERED, "e/IM099", ""),
        (NUMBERED, "d/e/IM014", "B"),
        (NUMBERED, "d/e/IM013", ""),
        (NUMBERED, "d/e/other.dcm", ""),
        (NUMBERED, "d/IM014.txt", "B"),
        (NUMBERED, "d/IM014.xyz", "B"),
        (NUMBERED, "d/IM014.dcm.failed", "B"),
        (NUMBERED, "d/IM013.txt", ""),  # beside the slice that it is about
        (NUMBERED, "d/IM014.jpg", ""),
        (NUMBERED, "d/.IM014.Xk2pQ9", "B"),
        (NUMBERED, "d/.IM013.Xk2pQ9", ""),
        (NUMBERED, "e/.syncthing.IM014.tmp", "B"),
        (places("a/1.2.3.7.dcm=A", "a/1.2.3.9.dcm=A", "b/2.25.77.dcm=B"), "lost/1.2.3.8.dcm", "A"),  # named by UIDs
        (places("a/1.2.3.7.dcm=A", "a/1.2.3.9.dcm=A", "b/2.25.77.dcm=B"), "lost/2.25.900000.dcm", ""),
        (places("a/1=A", "a/2=A", "b/1=B", "b/2=B"), "lost/3", ""),  # any of them could go on
        (places(*(f"p{n}/{k}=S{n}" for n in range(60) for k in (1, 2, 4))), "lost/3", ""),  # of 60 patients
        (places("a/1=A", "a/2=A", unread=("b/1", "b/2", "b/3")), "b/3", ""),  # a series of its own
        (places("a/1=A", "a/2=A", unread=("a/b/1", "a/b/3")), "a/b/3", ""),
        (NUMBERED, "d/IM014.zip", ""),  # an archive of anything
        (NUMBERED, "d/IM014.tar.gz", ""),
        (NUMBERED, "d/IM014.dcm.zip", "B"),
        (places("a/1.2.840.7=A", "a/1.2.840.9=A"), "a/1.2.840.8.zip", ""),
        (places("a/1.2.840.7=A", "a/1.2.840.9=A"), "a/2024.zip", ""),
        (places("a/1.2.840.7=A", "a/1.2.840.9=A"), "a/2024.tar.gz", ""),
        (places("a/x.dcm=A", "a/y.dcm=A"), "a/x (1).dcm", ""),  # copies of what is there
        (places("a/x.dcm=A", "a/y.dcm=A"), "a/x - Kopie.dcm", ""),
        (places("a/x.dcm=A", "a/y.dcm=A"), "a/y copy 2.dcm", ""),
        (places("a/x.dcm=A", "a/y.dcm=A"), "a/z (1).dcm", "A"),
        (places("a/x.dcm=A", "a/x (1).dcm=A"), "a/x (2).dcm", "A"),  # as browsers number downloads of one name
        (places("a/IM (1).dcm=A", "a/IM (2).dcm=A"), "a/IM (3).dcm", "A"),
        (MIXED, "d/4.dcm", "AB"),  # names do not follow the series
        (places("d/1.dcm=A", "d/2.dcm=A"), "d/other.dcm", "A"),
        (SPREAD, "r/03/x3", "A"),
        (SPREAD, "r/07/x1", "B"),
        (SPREAD, "r/03/notes", ""),
        (SPREAD, "q/08/x1", ""),  # a folder of its own beside a series that has one folder
    ],
)
def test_names_and_neighbours_tell_the_series(where: ImagePlaces, path: str, expected: str) -> None:
    assert where.find_series(path, dicom=False) == set(expected)


def test_what_is_dicom_whatever_its_name_may_be_a_part_of_any_series_beside_it() -> None:
    assert NUMBERED.find_series("d/other", dicom=True) == set("ABC")


def test_an_export_with_scouts_dose_pages_and_reports_loses_no_case(root: Path, write_series: Any, read: Read) -> None:
    for patient in "abcdef":
        same = {"PatientID": patient, "StudyInstanceUID": f"1.2.{ord(patient)}"}
        folder = root / patient
        write_series(folder / "ct", put(**same), count=12)
        write_series(folder / "scout", put(**same, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), count=2)
        write_series(folder / "dose", put(**same, SOPClassUID=SecondaryCaptureImageStorage), count=1)
        write_series(folder / "pet", put(**same, Modality="PT"), count=3)
        for sop_class in (
            *(BasicTextSRStorage, EncapsulatedPDFStorage, GrayscaleSoftcopyPresentationStateStorage, RTDoseStorage),
            *(RawDataStorage, "1.3.12.2.1107.5.9.1"),
        ):
            without = {"Rows": None, "Columns": None, "PixelData": None}
            write_series(folder / f"x{sop_class}", put(**same, **without, SOPClassUID=sop_class), count=1)
    cohort = read("abcdef")
    assert (len(cohort.cases), errors(cohort), warnings(cohort)) == (6, {}, {})
    assert all(len(case.image.paths) == 12 for case in cohort.cases)
    assert len(read("abcdef", layout="folders").cases) == 6


def test_a_study_of_which_only_the_scout_came_is_a_case_that_is_left_out(
    root: Path, write_series: Any, read: Read, make_site: Any, make_study: Any
) -> None:
    write_series(root / "a", put(PatientID="a"))
    write_series(root / "b", put(PatientID="b", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), count=2)
    write_series(root / "c", put(PatientID="c", SOPClassUID=SecondaryCaptureImageStorage), count=1)
    cohort = read("abc")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    codes = []
    for case in cohort.cases:
        try:
            load_case(case, study, make_site(root))
        except DataError as error:
            codes.append(error.code)
    assert (len(cohort.cases), sorted(codes)) == (3, ["DCM-FEW-SLICES", "DCM-SOPCLASS"])


def test_a_short_or_damaged_series_of_the_study_does_not_pass_for_a_scout(root: Path, write_series: Any, read: Read) -> None:
    same = {"PatientID": "a", "StudyInstanceUID": "1.2.3"}

    def mixed(k: int, ds: Dataset) -> None:
        put(**same, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER" if k else "AXIAL"])(k, ds)

    write_series(root / "whole", put(**same))
    write_series(root / "short", put(**same), count=3)
    write_series(root / "no rows", put(**same, Rows=None, SOPClassUID=CTImageStorage), count=8)
    write_series(root / "mixed", mixed, count=3)
    cohort = read("a")
    assert len(cohort.cases) == 4  # all are read, and three of them refused then


def test_captures_may_be_the_images_of_an_x_ray_study(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    capture = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "CR"}
    write_series(root / "a", put(PatientID="a", **capture), count=1)
    write_series(
        root / "b", put(PatientID="b", StudyInstanceUID="1.9", Modality="CR", SOPClassUID="1.2.840.10008.5.1.4.1.1.1"), count=1
    )
    write_series(root / "b2", put(PatientID="b", StudyInstanceUID="1.9", **capture), count=1)
    (root / "index.csv").write_text("patient,label\na,x\nb,y\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="XR", task__dimension=2)
    assert len(read_cohort(make_site(root, layout="dicom"), study).cases) == 2  # the page beside a radiograph is none
    assert len(read_cohort(make_site(root, layout="dicom", burned_in="allow"), study).cases) == 3


def test_an_image_by_itself_needs_a_modality(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    radiograph = "1.2.840.10008.5.1.4.1.1.1.1"
    for patient, modality in (("a", "DX"), ("b", None), ("c", "OT")):
        write_series(root / patient, put(PatientID=patient, Modality=modality, SOPClassUID=radiograph), count=1)
    (root / "index.csv").write_text("patient,label\na,x\nb,y\nc,y\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="XR", task__dimension=2)
    cohort = read_cohort(make_site(root, layout="dicom"), study)
    assert (len(cohort.cases), errors(cohort)) == (2, {"DCM-HEADER": 1})
