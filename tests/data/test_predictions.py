from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from medfl.data.cases import Source
from medfl.data.dicom.references import read_references
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_series
from medfl.data.image_files import read_image, read_mask_picture
from medfl.data.nifti import read_nifti, read_nifti_mask
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.pictures.placing import place_mask
from medfl.data.pictures.turn import EXIF_TURNS
from medfl.data.predictions import ModelOrigin, write_nifti, write_png, write_seg
from medfl.data.source_grid import SourceGrid
from medfl.errors import DataError, DiskFullError
from medfl.site import SiteData
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


def test_what_is_no_prediction_of_the_volume_is_refused(tmp_path: Path) -> None:
    grid = SourceGrid((4, 5, 6), np.eye(4))
    with pytest.raises(DataError, match="PRED-GRID"):
        write_nifti(np.zeros((4, 5, 7), dtype=np.uint8), grid, tmp_path / "a.nii")
    with pytest.raises(DataError, match="PRED-FORMAT"):
        write_nifti(np.zeros((4, 5, 6), dtype=np.uint8), grid, tmp_path / "a.img")


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_nifti_has_the_geometry_of_its_source(tmp_path: Path, save_nifti: Any, ending: str) -> None:
    affine = turned_oblique((20, 24, 10), (0.7, 0.8, 3.0))
    image = read_nifti(save_nifti(tmp_path / "image.nii", np.zeros((20, 24, 10), dtype=np.int16), affine))
    path = tmp_path / f"case-A.{ending}"
    write_nifti(marked(), SourceGrid.of_volume(image), path)
    values, place = read_nifti_mask(path, settings=SiteData(allow_predictions=True))
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
        self.grid = SourceGrid.of_volume(self.image)

    def write(self, mask: NDArray[np.uint8], **options: Any) -> Any:
        write_seg(mask, self.grid, self.source, CLASSES, ORIGIN, self.path, settings=self.site.data, **options)
        return pydicom.dcmread(self.path)

    def read(self) -> NDArray[np.uint8]:
        return read_seg(self.path, self.image, self.source, self.study, self.site)[0]


def test_axes_that_no_quaternion_describes_are_given_by_the_matrix_alone(tmp_path: Path) -> None:
    sheared = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared[0, 1] = 0.015  # the nearest rotation is 0.2 mm off at a corner
    write_nifti(marked(), SourceGrid(GRID, sheared), tmp_path / "a.nii")
    found, affine = read_nifti_mask(tmp_path / "a.nii", settings=SiteData(allow_predictions=True))
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
    assert made.SeriesInstanceUID != first.SeriesInstanceUID
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
        write_seg(marked(), s.grid, Source("nifti", (tmp_path / "a.nii",)), CLASSES, ORIGIN, s.path)
    with pytest.raises(DataError, match="PRED-WRITE") as caught:
        write_nifti(marked(), s.grid, tmp_path / "CANARY" / "a.nii")
    assert "CANARY" not in str(caught.value)

    def full(*_: Any) -> None:
        raise OSError(28, "CANARY")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DiskFullError, match="DISK-FULL"):
        write_nifti(marked(), s.grid, tmp_path / "a.nii")
    assert not list(tmp_path.glob(".a*"))


@pytest.mark.parametrize("orientation", [1, *range(2, 9)])
def test_the_mask_of_a_photograph_is_stored_and_turned_as_the_photograph_is(tmp_path: Path, orientation: int) -> None:
    pixels = np.arange(1, 13, dtype=np.uint8).reshape(3, 4) * 20
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    volume = read_image(tmp_path / "photo.png")
    mask = (volume.array[0] == 60).astype(np.uint8)  # one pixel, wherever the turn brings it
    write_png(mask, SourceGrid.of_volume(volume), tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as written:
        assert np.array_equal(np.array(written), pixels == 60)  # on the pixels as stored
        assert EXIF_TURNS[written.getexif().get(ExifTags.Base.Orientation, 1)] == EXIF_TURNS[orientation]
    values, own = read_mask_picture(tmp_path / "mask.png")
    assert np.array_equal(place_mask(values, own, volume, ("image", "image"), SiteData()), mask)
    assert stat.S_IMODE((tmp_path / "mask.png").stat().st_mode) == 0o600


def test_a_mask_of_pixels_that_are_not_square_has_those_of_its_picture(tmp_path: Path) -> None:
    picture = PictureGeometry((3, 4), pixel_size=(2.0, 1.0))  # 3 columns are 6 square pixels
    grid = SourceGrid.from_facts(SourceGrid((6, 4), np.eye(4), picture).to_facts())
    mask = np.zeros((6, 4), dtype=np.uint8)
    mask[2:4, 1] = 1
    write_png(mask, grid, tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as written:
        assert np.argwhere(np.array(written)).tolist() == [[1, 1]]  # row 1, column 1 of 4 x 3


def test_a_mask_of_a_picture_in_nifti_has_the_place_of_its_picture(tmp_path: Path, save_nifti: Any) -> None:
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    affine[:3, 3] = 3.0, -7.0, 11.0
    image = np.arange(20, dtype=np.int16).reshape(5, 4, 1)
    volume = read_nifti(save_nifti(tmp_path / "image.nii", image, affine), dimension=2)
    write_nifti((volume.array[0] == 7).astype(np.uint8), SourceGrid.of_volume(volume), tmp_path / "mask.nii")
    written = nibabel.load(tmp_path / "mask.nii")
    found = written.affine @ [*np.argwhere(np.asarray(written.dataobj))[0], 1]
    np.testing.assert_allclose(found, affine @ [1, 3, 0, 1], atol=1e-5)


def test_a_dicom_seg_has_the_codes_that_a_study_names(scene: Any, tmp_path: Path) -> None:
    s = scene(write_slices(tmp_path / "series"))
    made = s.write(marked(), codes=(("10200004", "Liver structure"), ("4147007", "Mass")))
    kinds = [item.SegmentedPropertyTypeCodeSequence[0] for item in made.SegmentSequence]
    assert [(kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) for kind in kinds] == [
        ("10200004", "SCT", "Liver structure"),
        ("4147007", "SCT", "Mass"),
    ]
