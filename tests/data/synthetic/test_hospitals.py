"""Synthetic hospitals: the same seed gives the same files, and what is written has the geometry of the anatomy."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from medfl.data.synthetic import hospitals as synthetic
from medfl.data.synthetic.brain import Head, make_head, parse_orientation, read_template
from medfl.data.synthetic.hospitals import MARKER, make_brain_hospitals, make_nodule_images
from medfl.errors import MedflError
from medfl.site import read_site

needs_template = pytest.mark.skipif(importlib.util.find_spec("nilearn") is None, reason="flwr-medfl[demo] is not installed")
COARSE = 2.5


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_brain_hospitals(tmp_path_factory.mktemp("synthetic") / "out", patients=(1, 2, 1), seed=3, coarser=COARSE)


def expected_head(index: int, name: str, number: int) -> Head:
    scanner = synthetic._coarsen(synthetic._SCANNERS[name], COARSE)
    return make_head(read_template(), scanner, (3, index, number))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@needs_template
def test_layouts_policy_and_notice_are_written(brains: Path) -> None:
    expected = {
        "hospital-a": ["SYN0001/MR/IM0001.dcm", "SYN0001/SEG/labels.dcm"],
        "hospital-b": [
            "dataset_description.json",
            "participants.tsv",
            "sub-02/anat/sub-02_T1w.nii.gz",
            "derivatives/manual/sub-02/anat/sub-02_dseg.nii.gz",
        ],
        "hospital-c": ["dataset.json", "imagesTr/brain_001.nii.gz", "labelsTr/brain_001.nii.gz"],
    }
    for name, files in expected.items():
        site = read_site(brains / name)
        assert site.name == name
        assert len(site.secret()) == 32
        assert site.policy.min_count == 0
        assert [f for f in files if not (site.root / f).is_file()] == []
        assert "Louis Collins" in (brains / name / "NOTICE").read_text()
    described = json.loads((brains / "hospital-c" / "data" / "dataset.json").read_text())
    assert described["labels"] == {"0": "background", "1": "grey-matter", "2": "white-matter"}


@needs_template
def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(brains: Path, tmp_path: Path) -> None:
    again = make_brain_hospitals(tmp_path / "again", patients=(1, 2, 1), seed=3, coarser=COARSE)
    assert digests(again) == digests(brains)
    other = make_brain_hospitals(tmp_path / "other", patients=(1, 1, 1), seed=4, coarser=COARSE)
    one = "hospital-a/data/SYN0001/MR/IM0010.dcm"
    assert (other / one).read_bytes() != (again / one).read_bytes()


@needs_template
def test_every_dicom_voxel_has_the_position_of_its_anatomy(brains: Path) -> None:
    head = expected_head(0, "hospital-a", 1)
    inverse = np.linalg.inv(head.affine)
    files = sorted((brains / "hospital-a" / "data" / "SYN0001" / "MR").glob("*.dcm"))
    assert len(files) == head.image.shape[2]
    for file in files:
        dataset = pydicom.dcmread(file)
        # DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1: columns run along the first three numbers of the orientation
        row, column = np.indices((dataset.Rows, dataset.Columns)).reshape(2, 1, -1).astype(float)
        right, down = np.array(dataset.ImageOrientationPatient, dtype=float).reshape(2, 3, 1)
        between_rows, between_columns = (float(s) for s in dataset.PixelSpacing)
        position = np.array(dataset.ImagePositionPatient, dtype=float).reshape(3, 1)
        world = position + right * between_columns * column + down * between_rows * row
        ras = world * [[-1], [-1], [1]]
        voxels = inverse[:3, :3] @ ras + inverse[:3, 3:]
        nearest = np.rint(voxels).astype(int)
        assert np.abs(voxels - nearest).max() < 1e-3
        assert (head.image[tuple(nearest)] == dataset.pixel_array.ravel()).all()


@needs_template
def test_segments_match_the_slices_that_they_reference(brains: Path) -> None:
    head = expected_head(0, "hospital-a", 1)
    patient = brains / "hospital-a" / "data" / "SYN0001"
    number = {d.SOPInstanceUID: d.InstanceNumber for d in map(pydicom.dcmread, (patient / "MR").glob("*.dcm"))}
    seg = pydicom.dcmread(patient / "SEG" / "labels.dcm")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["grey-matter", "white-matter"]
    read = np.zeros_like(head.label)
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        segment = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        read[:, :, number[source] - 1][frame.T > 0] = segment
    assert (read == head.label).all()


@needs_template
@pytest.mark.parametrize(
    ("name", "index", "image", "label", "axes"),
    [
        ("hospital-b", 1, "sub-01/anat/sub-01_T1w.nii.gz", "derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz", "RAS"),
        ("hospital-c", 2, "imagesTr/brain_001.nii.gz", "labelsTr/brain_001.nii.gz", "LIA"),
    ],
)
def test_nifti_files_hold_the_anatomy_and_its_geometry(
    brains: Path, name: str, index: int, image: str, label: str, axes: str
) -> None:
    head, data = expected_head(index, name, 1), brains / name / "data"
    written, mask = nibabel.load(data / image), nibabel.load(data / label)
    assert "".join(nibabel.aff2axcodes(written.affine)) == axes
    np.testing.assert_allclose(written.affine, head.affine, atol=1e-4)
    np.testing.assert_allclose(written.get_qform(), head.affine, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(written.dataobj), head.image)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), head.label)
    np.testing.assert_allclose(mask.affine, written.affine)


@needs_template
def test_heads_of_all_hospitals_share_patient_coordinates() -> None:
    for index, name in enumerate(synthetic._SCANNERS):
        head = expected_head(index, name, 1)
        centre = head.affine @ [*np.argwhere(head.label > 0).mean(axis=0), 1.0]
        assert np.abs(centre[:3] - [0, -20, 10]).max() < 12  # mm; the centre of the template's brain
        assert set(np.unique(head.label)) == {0, 1, 2}
        assert head.image[head.label > 0].min() > 0


@needs_template
def test_a_complete_folder_is_reused_and_an_interrupted_one_made_again(brains: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(brains, out)
    calls: list[tuple[int, int]] = []

    def make() -> None:
        make_brain_hospitals(out, patients=(1, 2, 1), seed=3, coarser=COARSE, progress=lambda i, n: calls.append((i, n)))

    make()
    assert calls == []
    marker = json.loads((out / MARKER).read_text())
    (out / MARKER).write_text(json.dumps(marker | {"complete": False}))
    (out / "hospital-c" / "data" / "dataset.json").unlink()
    make()
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert digests(out) == digests(brains)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "hospital-1").mkdir()
    (tmp_path / "hospital-1" / "thesis.txt").write_text("ten years")
    with pytest.raises(MedflError, match="SYNTH-FOLDER"):
        make_nodule_images(tmp_path, patients=2)
    assert (tmp_path / "hospital-1" / "thesis.txt").read_text() == "ten years"


def test_without_the_template_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MedflError, match=r"pip install \"flwr-medfl\[demo\]\""):
        make_brain_hospitals(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_orientations_that_name_an_axis_twice_are_refused() -> None:
    assert parse_orientation("LPS") == ([0, 1, 2], [-1, -1, 1])
    with pytest.raises(MedflError, match="SYNTH-ORIENTATION"):
        parse_orientation("RLS")


def test_nodule_images_have_an_index_and_differ_between_hospitals(tmp_path: Path) -> None:
    out = make_nodule_images(tmp_path / "out", hospitals=2, patients=8, size=64)
    means = []
    for name in ("hospital-1", "hospital-2"):
        root = read_site(out / name).root
        with (root / "index.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 10  # patients 4 and 8 have two images
        assert len({row["patient"] for row in rows}) == 8
        assert {row["label"] for row in rows} == {"clear", "nodule"}
        images = [np.asarray(Image.open(root / row["image"])) for row in rows]
        assert {p.shape for p in images} == {(64, 64)}
        means.append(np.mean(images))
    assert abs(means[0] - means[1]) > 10
    assert digests(out) == digests(make_nodule_images(tmp_path / "again", hospitals=2, patients=8, size=64))


def test_nodule_images_of_another_size_replace_the_earlier_ones(tmp_path: Path) -> None:
    make_nodule_images(tmp_path, hospitals=2, patients=2, size=64)
    make_nodule_images(tmp_path, hospitals=1, patients=2, size=72)
    assert sorted(p.name for p in tmp_path.glob("hospital-*")) == ["hospital-1"]
