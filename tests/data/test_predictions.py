from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.dicom.references import read_references
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_series
from medfl.data.nifti import read_nifti, read_nifti_mask
from medfl.data.predictions import ModelOrigin, resample_to_source, write_nifti, write_seg
from medfl.data.preprocess.steps import preprocess
from medfl.data.volume import Volume
from medfl.errors import DataError, DiskFullError
from tests.data.dicom.phantom import AXIAL, SHAPE, stack, write_enhanced, write_slices
from tests.data.dicom.writing import oblique

ORIGIN = ModelOrigin("liver-net", "3.1", "ab12" * 16)
CLASSES = ("background", "liver", "lesion")
GRID = (*SHAPE[::-1], 10)


def marked(shape: tuple[int, ...] = GRID) -> NDArray[np.uint8]:
    values = np.zeros(shape, dtype=np.uint8)
    values[2:6, 3:12, 1:5], values[8:13, 7:9, 3:7] = 1, 2
    return values


def turned_oblique(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    row, column = oblique()
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1) * spacing
    affine[:3, 3] = -40.0, 7.0, 120.0
    return affine


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_a_prediction_goes_back_through_the_whole_preparation(axes: str, make_study: Any) -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat(np.repeat(np.repeat(rng.integers(0, 3, (7, 8, 6)), 4, 0), 4, 1), 4, 2).astype(np.uint8)
    grey = np.zeros(truth.shape, dtype=np.float32)
    grey[4:24, 4:28, 4:20] = 1 + truth[4:24, 4:28, 4:20]  # the crop cuts the rest away
    truth[grey == 0] = 0
    ras = turned_oblique(truth.shape, (1.0, 1.0, 1.5))
    change = axcodes2ornt(tuple(axes))
    affine = ras @ inv_ornt_aff(change, truth.shape)
    source = Volume(apply_orientation(grey, change)[np.newaxis].astype(np.float32), affine)
    label = apply_orientation(truth, change).astype(np.uint8)
    study = make_study(
        task__classes="background,liver,lesion", preprocessing__crop="foreground", preprocessing__size="32,32,32"
    )
    prepared, predicted = preprocess(source, label, study)
    assert predicted is not None
    assert prepared.shape == (32, 32, 32)
    np.testing.assert_array_equal(resample_to_source(predicted, prepared.affine, source), label)
    cut = make_study(task__classes="background,liver,lesion", preprocessing__crop="foreground")
    prepared, predicted = preprocess(source, label, cut)
    assert predicted is not None
    assert prepared.array[0].size < label.size
    np.testing.assert_array_equal(resample_to_source(predicted, prepared.affine, source), label)
    finer = make_study(task__classes="background,liver,lesion", preprocessing__spacing="0.5,0.5,0.5")
    prepared, predicted = preprocess(source, label, finer)
    assert predicted is not None
    assert (resample_to_source(predicted, prepared.affine, source) == label).mean() > 0.999


def test_probabilities_are_interpolated_before_the_largest_is_taken() -> None:
    shares = np.zeros((2, 4, 1, 1), dtype=np.float32)
    shares[1, :, 0, 0] = 0.0, 0.45, 1.0, 1.0
    shares[0] = 1 - shares[1]
    coarse = np.diag([4.0, 4.0, 4.0, 1.0])
    fine = Volume(np.zeros((1, 20, 1, 1), dtype=np.float32))
    found = resample_to_source(shares, coarse, fine)[:, 0, 0]
    # one half is passed at voxel 1.09 of the coarse grid, 4.4 mm; the grid ends half a voxel behind its last centre, at 14 mm
    assert np.flatnonzero(found).tolist() == list(range(5, 15))
    nearest = resample_to_source(shares.argmax(axis=0), coarse, fine)[:, 0, 0]
    assert np.flatnonzero(nearest).tolist() == list(range(6, 15))


def test_what_is_no_prediction_of_the_volume_is_refused(tmp_path: Path) -> None:
    volume = Volume(np.zeros((1, 4, 5, 6), dtype=np.float32))
    for values in (np.zeros((4, 5)), np.zeros((4, 5, 6), dtype=np.float32)):
        with pytest.raises(DataError, match="PRED-GRID"):
            resample_to_source(values, np.eye(4), volume)
    with pytest.raises(DataError, match="PRED-GRID"):
        write_nifti(np.zeros((4, 5, 7), dtype=np.uint8), volume, tmp_path / "a.nii")
    with pytest.raises(DataError, match="PRED-FORMAT"):
        write_nifti(np.zeros((4, 5, 6), dtype=np.uint8), volume, tmp_path / "a.img")


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_nifti_has_the_geometry_of_its_source(tmp_path: Path, save_nifti: Any, ending: str) -> None:
    affine = turned_oblique((20, 24, 10), (0.7, 0.8, 3.0))
    image = read_nifti(save_nifti(tmp_path / "image.nii", np.zeros((20, 24, 10), dtype=np.int16), affine))
    path = tmp_path / f"case-A.{ending}"
    write_nifti(marked(), image, path)
    values, place = read_nifti_mask(path)
    np.testing.assert_array_equal(values, marked())
    assert place is not None
    np.testing.assert_allclose(place, image.affine, atol=1e-5)
    assert nibabel.load(path).get_data_dtype() == np.uint8
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, "image.nii"])


class Scene:
    """A series of the phantom, its image, and who writes and reads predictions about it."""

    def __init__(self, folder: Path, study: Any, site: Any, paths: list[Path]) -> None:
        self.path, self.study, self.site, self.paths = folder / "case-A.dcm", study, site, paths
        self.source = Source("dicom", tuple(paths))
        self.image = read_series(paths, site.data)

    def write(self, mask: NDArray[np.uint8], **options: Any) -> Any:
        write_seg(mask, self.image, self.source, CLASSES, ORIGIN, self.path, settings=self.site.data, **options)
        return pydicom.dcmread(self.path)

    def read(self) -> NDArray[np.uint8]:
        return read_seg(self.path, self.image, self.source, self.study, self.site)[0]


def test_axes_that_no_quaternion_describes_are_given_by_the_matrix_alone(tmp_path: Path) -> None:
    sheared = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared[0, 1] = 0.015  # the nearest rotation is 0.2 mm off at a corner
    image = Volume(np.zeros((1, *GRID), dtype=np.float32), sheared)
    write_nifti(marked(), image, tmp_path / "a.nii")
    found, affine = read_nifti_mask(tmp_path / "a.nii")
    np.testing.assert_array_equal(found, marked())
    np.testing.assert_allclose(affine, sheared, atol=1e-6)
    assert nibabel.load(tmp_path / "a.nii").header["qform_code"] == 0


@pytest.fixture
def scene(tmp_path: Path, make_study: Any, make_site: Any) -> Any:
    def make(paths: list[Path], **data: Any) -> Scene:
        study = make_study(task__modality="CT", task__classes=",".join(CLASSES))
        return Scene(tmp_path, study, make_site(tmp_path, **data), paths)

    return make


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("axes", [AXIAL, oblique()], ids=["axial", "oblique"])
def test_a_dicom_seg_comes_back_voxel_by_voxel(scene: Any, tmp_path: Path, kind: str, axes: Any) -> None:
    s = scene(
        write_slices(
            tmp_path / "series", stack(axes=axes), lambda k, ds: setattr(ds, "InstanceNumber", (k * 3) % 10), axes=axes
        )
    )
    made = s.write(marked(), kind=kind)
    np.testing.assert_array_equal(s.read(), marked())
    assert read_references(s.path).images == {str(pydicom.dcmread(path).SOPInstanceUID) for path in s.paths}
    assert made.SegmentationType == kind
    assert made.NumberOfFrames == (8 if kind == "BINARY" else 6)  # two classes on four slices each, two of them shared


def test_a_dicom_seg_says_who_made_it_of_what(scene: Any, tmp_path: Path) -> None:
    s = scene(write_slices(tmp_path / "series"))
    made, first = s.write(marked()), pydicom.dcmread(s.paths[0])
    assert (made.StudyInstanceUID, made.PatientID) == (first.StudyInstanceUID, first.PatientID)
    assert made.SeriesInstanceUID not in (first.SeriesInstanceUID, s.write(marked()).SeriesInstanceUID)
    assert (made.ContentQualification, made.Manufacturer) == ("RESEARCH", "medfl")
    assert [item.SegmentLabel for item in made.SegmentSequence] == ["liver", "lesion"]
    assert [item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for item in made.SegmentSequence] == ["Liver", "Lesion"]
    algorithm = made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("medfl:liver-net", "3.1 ab12ab12ab12")
    assert made.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert stat.S_IMODE(s.path.stat().st_mode) == 0o600


def test_a_prediction_without_any_finding_can_be_written(scene: Any, tmp_path: Path) -> None:
    s = scene(write_slices(tmp_path / "series"))
    s.write(np.zeros(GRID, dtype=np.uint8))
    assert not s.read().any()


def test_frames_of_one_object_are_referred_to(scene: Any, tmp_path: Path) -> None:
    places = stack()
    s = scene([write_enhanced(tmp_path / "frames.dcm", [places[(k * 3) % 10] for k in range(10)])])
    s.write(marked())
    np.testing.assert_array_equal(s.read(), marked())


def test_a_straightened_volume_goes_back_onto_its_slices(scene: Any, tmp_path: Path) -> None:
    s = scene(write_slices(tmp_path / "series", stack(tilt=15.0)), gantry_tilt="resample")
    mask = marked(s.image.shape)
    s.write(mask)
    assert s.image.acquired_geometry is not None
    again = s.read()
    share = 2 * ((again == 1) & (mask == 1)).sum() / ((again == 1).sum() + (mask == 1).sum())
    assert share > 0.95  # two roundings to the nearest pixel


def test_what_cannot_be_written_says_so_without_a_path(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_frame(k: int, ds: Any) -> None:
        del ds.FrameOfReferenceUID

    s = scene(write_slices(tmp_path / "series", None, no_frame))
    with pytest.raises(DataError, match=r"PRED-SEG.*frame of reference"):
        s.write(marked())
    with pytest.raises(DataError, match=r"PRED-SEG.*NIfTI"):
        write_seg(marked(), s.image, Source("nifti", (tmp_path / "a.nii",)), CLASSES, ORIGIN, s.path)
    with pytest.raises(DataError, match="PRED-WRITE") as caught:
        write_nifti(marked(), s.image, tmp_path / "CANARY" / "a.nii")
    assert "CANARY" not in str(caught.value)

    def full(*_: Any) -> None:
        raise OSError(28, "CANARY")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DiskFullError, match="DISK-FULL"):
        write_nifti(marked(), s.image, tmp_path / "a.nii")
    assert not list(tmp_path.glob(".a*"))
