from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.dicom.image import read_dicom_image
from medfl.data.dicom.resample_stack import resample_labels
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_series
from medfl.data.labels import read_mask
from medfl.data.mask_alignment import reorient
from medfl.data.predictions import ModelOrigin
from medfl.data.predictions import write_seg as write_prediction
from medfl.data.volume import LPS_TO_RAS
from medfl.errors import DataError
from tests.data.dicom.drawing import description, in_order, producer, read_nrrd, write_seg
from tests.data.dicom.phantom import AXIAL, PIXEL, SHAPE, stack, write
from tests.data.dicom.writing import oblique

CLASSES = "background,liver,lesion"
GRID = (*SHAPE[::-1], 10)


def blocks() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    one, two = np.zeros(GRID, dtype=np.uint8), np.zeros(GRID, dtype=np.uint8)
    one[2:6, 3:15, 1:5], two[10:17, 20:23, 3:9] = 1, 1
    return one, two


class Scene:
    """A series of the phantom, its image, and who reads its segmentations."""

    def __init__(self, folder: Path, study: Any, site: Any, axes: Any = AXIAL, **options: Any) -> None:
        self.folder, self.study, self.site = folder, study, site
        self.paths = write(folder / "series", stack(axes=axes, **options), axes=axes)
        self.source = Source("dicom", tuple(self.paths))
        self.image = read_series(self.paths, site.data)

    def read(self, segments: dict[str, NDArray[Any]], *args: Any, **options: Any) -> NDArray[np.uint8]:
        return self.read_file(write_seg(self.folder / "seg.dcm", self.paths, segments, *args, **options))

    def read_file(self, path: Path) -> NDArray[np.uint8]:
        return read_seg(path, self.image, self.source, self.study, self.site)

    def write_volume(self, values: NDArray[np.uint8], affine: NDArray[np.float64]) -> Path:
        """Write a segment whose frames are not the slices of the series: (frames, rows, columns) and its LPS affine."""
        datasets = in_order(self.paths)
        frame = datasets[0].FrameOfReferenceUID
        volume = highdicom.Volume(values, affine, "PATIENT", frame_of_reference_uid=frame)
        highdicom.seg.Segmentation(
            source_images=datasets,
            pixel_array=volume,
            segmentation_type="BINARY",
            segment_descriptions=[description(1, "liver")],
            **producer(),
        ).save_as(self.folder / "other.dcm")
        return self.folder / "other.dcm"

    def lps(self) -> NDArray[np.float64]:
        """Return the affine of the series in highdicom's order: slices, rows, columns."""
        return np.asarray((LPS_TO_RAS @ self.image.affine)[:, [2, 1, 0, 3]])


@pytest.fixture
def scene(tmp_path: Path, make_study: Any, make_site: Any) -> Any:
    def make(axes: Any = AXIAL, classes: str = CLASSES, data: dict[str, Any] | None = None, **options: Any) -> Scene:
        study = make_study(task__modality="CT", task__classes=classes)
        return Scene(tmp_path, study, make_site(tmp_path, **(data or {})), axes, **options)

    return make


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("axes", [AXIAL, oblique()], ids=["axial", "oblique"])
def test_what_was_drawn_comes_back_voxel_by_voxel(scene: Any, kind: str, axes: Any) -> None:
    one, two = blocks()
    np.testing.assert_array_equal(scene(axes).read({"Liver": one, "LESION": two}, kind), one + 2 * two)


def test_slices_that_were_stored_descending_are_the_same(scene: Any) -> None:
    one, _ = blocks()
    np.testing.assert_array_equal(scene(distance=-2.5).read({"liver": one[:, :, ::-1]}), one[:, :, ::-1])


def test_a_fraction_counts_from_one_half_on(scene: Any) -> None:
    one, _ = blocks()
    shares = one * np.float32(0.49)
    shares[2, 3, 1], shares[3, 3, 1] = 0.51, 1.0
    found = scene().read({"liver": shares}, "FRACTIONAL", max_fractional_value=200)
    assert np.argwhere(found).tolist() == [[2, 3, 1], [3, 3, 1]]
    exact = np.zeros(GRID, dtype=np.float32)
    exact[5, 5, 5] = 0.5
    assert scene().read({"liver": exact}, "FRACTIONAL", max_fractional_value=200).sum() == 1


def test_segments_of_one_class_are_joined_and_those_of_others_must_not_overlap(scene: Any) -> None:
    one, two = blocks()
    both = scene(data={"label_names": (("left", "liver"), ("right", "Liver"))})
    np.testing.assert_array_equal(both.read({"left": one, "right": one | two}), one | two)
    touching = one.copy()
    touching[6:9] = 0
    with pytest.raises(DataError, match="LBL-OVERLAP"):
        both.read({"left": one, "lesion": touching})


def test_segments_that_are_the_background_here_are_left_out(scene: Any) -> None:
    one, two = blocks()
    s = scene(data={"label_names": (("*", "background"),)})
    np.testing.assert_array_equal(s.read({"CANARY": one | two, "liver": one}), one)
    np.testing.assert_array_equal(s.read({"CANARY": two, "liver": one}, "LABELMAP"), one)


def test_names_that_are_no_class_are_refused_without_repeating_them(scene: Any) -> None:
    one, two = blocks()
    with pytest.raises(DataError, match=r"LBL-CLASSNAME.*1 of 2 segments.*liver, lesion") as caught:
        scene().read({"liver": one, "CANARY": two})
    assert "CANARY" not in str(caught.value)


def test_a_single_frame_is_enough(scene: Any) -> None:
    one = np.zeros(GRID, dtype=np.uint8)
    one[3, 4, 7] = 1
    np.testing.assert_array_equal(scene().read({"liver": one}), one)


def test_frames_without_a_position_lie_on_the_image_they_refer_to(scene: Any) -> None:
    one, two = blocks()

    def nowhere(ds: Any) -> None:
        for frame in ds.PerFrameFunctionalGroupsSequence:
            del frame.PlanePositionSequence
        del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence

    def nothing(ds: Any) -> None:
        nowhere(ds)
        for frame in ds.PerFrameFunctionalGroupsSequence:
            del frame.DerivationImageSequence

    s = scene()
    np.testing.assert_array_equal(s.read({"liver": one, "lesion": two}, change=nowhere), one + 2 * two)
    with pytest.raises(DataError, match="LBL-GEOMETRY"):
        s.read({"liver": one}, change=nothing)


@pytest.mark.parametrize("shape", [(5, 7), (19, 21), (31, 8)])
@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_frames_may_begin_within_a_byte(tmp_path: Path, make_study: Any, make_site: Any, shape: Any, kind: Any) -> None:
    paths = write(tmp_path / "series", shape=shape)
    study, site = make_study(task__modality="CT", task__classes=CLASSES), make_site(tmp_path)
    source, image = Source("dicom", tuple(paths)), read_series(paths, site.data)
    values = np.random.default_rng(1).integers(0, 3, image.shape).astype(np.uint8)
    values[..., 4] = 0  # a frame that is left out
    write_prediction(
        values, image, source, study.task.classes, ModelOrigin("a", "1", "0" * 64), tmp_path / "own.dcm", kind=kind
    )
    write_seg(tmp_path / "other.dcm", paths, {"liver": values == 1, "lesion": values == 2}, kind)
    for name in ("own.dcm", "other.dcm"):
        np.testing.assert_array_equal(read_seg(tmp_path / name, image, source, study, site), values)


def stated(step: float | None) -> Any:
    """Return a change of what a segmentation says of the distance of its planes."""

    def change(ds: Any) -> None:
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.pop("SpacingBetweenSlices", None)
        if step:
            measures.SpacingBetweenSlices = step

    return change


def test_a_segmentation_of_every_second_slice_is_another_grid(scene: Any) -> None:
    s, (one, _) = scene(), blocks()
    comb, pair = np.zeros(GRID, dtype=np.uint8), np.zeros(GRID, dtype=np.uint8)
    comb[2:6, 3:15, 1:9:2], pair[2:6, 3:15, [2, 6]] = 1, 1
    for step in (5.0, None):
        with pytest.raises(DataError, match="LBL-GEOMETRY"):
            s.read({"liver": comb}, change=stated(step))
    for values, step in ((comb, 2.5), (pair, 2.5), (pair, None), (one, None), (one, 9.0)):  # 9: the gap of a scanner
        np.testing.assert_array_equal(s.read({"liver": values}, change=stated(step)), values)


def test_thinner_frames_are_not_joined_into_a_slice(scene: Any) -> None:
    s, (one, _) = scene(distance=1.0), blocks()
    affine = s.lps()
    affine[:3, 3] -= 0.25 * affine[:3, 0]
    affine[:3, 0] *= 0.5
    thin = np.repeat(one.transpose(2, 1, 0), 2, axis=0)
    with pytest.raises(DataError, match="LBL-GEOMETRY"):
        s.read_file(s.write_volume(thin, affine))


def test_fractions_of_nothing_are_refused(scene: Any) -> None:
    one, _ = blocks()
    for change in (lambda ds: delattr(ds, "MaximumFractionalValue"), lambda ds: setattr(ds, "MaximumFractionalValue", 0)):
        with pytest.raises(DataError, match="LBL-READ"):
            scene().read({"liver": one * np.float32(0.1)}, "FRACTIONAL", change=change)


def test_what_another_grid_needs_is_asked_with_a_code(scene: Any) -> None:
    s, (one, _) = scene(), blocks()
    path = s.write_volume(one.transpose(2, 1, 0)[:, ::-1].copy(), s.lps() @ np.diag([1.0, -1, 1, 1]))
    for keyword in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence", "SegmentAlgorithmType"):
        ds = pydicom.dcmread(path)
        del ds.SegmentSequence[0][keyword]
        ds.save_as(s.folder / "less.dcm")
        with pytest.raises(DataError, match="LBL-READ"):
            s.read_file(s.folder / "less.dcm")


def test_damaged_objects_are_refused(scene: Any) -> None:
    one, _ = blocks()

    def cut(ds: Any) -> None:
        ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]

    def foreign(ds: Any) -> None:
        ds.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 7

    def fewer(ds: Any) -> None:
        ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:-1]

    def without(keyword: str) -> Any:
        def change(ds: Any) -> None:
            ds["PixelData"].VR = "OB"  # which pydicom would ask BitsAllocated for
            delattr(ds, keyword)

        return change

    s = scene()
    for change in (cut, foreign, fewer, *map(without, ("Rows", "Columns", "BitsAllocated", "PixelData", "SegmentSequence"))):
        with pytest.raises(DataError, match="LBL-READ"):
            s.read({"liver": one}, change=change)


def test_segments_beyond_the_depth_of_a_labelmap_are_refused(scene: Any) -> None:
    one, _ = blocks()
    for change in (
        lambda ds: setattr(ds.SegmentSequence[0], "SegmentNumber", 300),
        lambda ds: setattr(ds, "BitsAllocated", 32),
    ):
        with pytest.raises(DataError, match="LBL-READ"):
            scene().read({"liver": one}, "LABELMAP", change=change)


def test_stored_numbers_without_a_segment_are_refused(scene: Any) -> None:
    one, two = blocks()

    def unnamed(ds: Any) -> None:
        ds.SegmentSequence = [item for item in ds.SegmentSequence if item.SegmentNumber != 2]

    with pytest.raises(DataError, match="LBL-VALUES"):
        scene().read({"liver": one, "lesion": two}, "LABELMAP", change=unnamed)


def test_frames_along_other_axes_are_turned(scene: Any) -> None:
    s, (one, _) = scene(oblique()), blocks()
    slices_first = one.transpose(2, 1, 0)
    sagittal = slices_first.transpose(2, 0, 1)[::-1]  # columns from the last, slices, rows
    affine = s.lps()[:, [2, 0, 1, 3]]
    affine[:3, 3] += affine[:3, 0] * (sagittal.shape[0] - 1)
    affine[:3, 0] *= -1
    np.testing.assert_array_equal(s.read_file(s.write_volume(sagittal.copy(), affine)), one)


def test_another_resolution_needs_the_sites_word(scene: Any) -> None:
    strict, (one, _) = scene(), blocks()
    fine = np.repeat(np.repeat(one.transpose(2, 1, 0), 2, axis=1), 2, axis=2)
    affine = strict.lps()
    affine[:3, 3] -= 0.25 * (affine[:3, 1] + affine[:3, 2])
    affine[:3, 1:3] /= 2
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*label-geometry"):
        strict.read_file(strict.write_volume(fine, affine))
    relaxed = scene(data={"label_geometry": "resample"})
    np.testing.assert_array_equal(relaxed.read_file(relaxed.write_volume(fine, affine)), one)  # empty slices were left out
    affine[:3, 3] += [3.0, 0.0, 0.0]
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*3\.0 mm.*2 mm is too much"):
        relaxed.read_file(relaxed.write_volume(fine, affine))


def test_half_a_pixel_off_is_another_grid(scene: Any) -> None:
    s, (one, _) = scene(), blocks()
    for share, fits in ((0.4, True), (0.6, False)):
        affine = s.lps()
        affine[:3, 3] += [share * min(PIXEL), 0.0, 0.0]
        path = s.write_volume(one.transpose(2, 1, 0), affine)
        if fits:
            np.testing.assert_array_equal(s.read_file(path), one)
        else:
            with pytest.raises(DataError, match="LBL-GEOMETRY"):
                s.read_file(path)


def test_a_tilted_series_keeps_what_was_drawn_on_its_slices(scene: Any) -> None:
    s, (one, two) = scene(tilt=15.0, data={"gantry_tilt": "resample"}), blocks()
    assert s.image.acquired_geometry is not None
    found = s.read({"liver": one, "lesion": two})
    assert found.shape == s.image.shape != GRID
    np.testing.assert_array_equal(found, resample_labels(one + 2 * two, s.image.acquired_geometry, s.image))


def test_an_xray_has_a_segmentation_too(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    paths = write(tmp_path / "series", stack(count=1))
    marked = np.zeros((*SHAPE[::-1], 1), dtype=np.uint8)
    marked[3:9, 4:6] = 1

    def flat(ds: Any) -> None:
        del ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence

    path = write_seg(tmp_path / "seg.dcm", paths, {"Lung": marked}, change=flat)
    study = make_study(task__dimension=2, task__classes="background,lung")
    source = Source("dicom", (paths[0],))
    image = read_dicom_image(paths[0])
    found = read_mask(Source("dicom", (path,)), image, source, study, make_site(tmp_path))
    np.testing.assert_array_equal(found, marked[..., 0])


def test_a_flat_segmentation_that_lies_otherwise_than_its_image_is_refused(
    tmp_path: Path, make_study: Any, make_site: Any
) -> None:
    paths = write(tmp_path / "series", stack(count=1))
    marked = np.ones((*SHAPE[::-1], 1), dtype=np.uint8)
    study, site = make_study(task__dimension=2, task__classes="background,lung"), make_site(tmp_path)

    def read(change: Any) -> NDArray[np.uint8]:
        path = write_seg(tmp_path / "seg.dcm", paths, {"Lung": marked}, change=change)
        return read_mask(Source("dicom", (path,)), read_dicom_image(paths[0]), Source("dicom", (paths[0],)), study, site)

    def turned(ds: Any) -> None:
        ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]

    def moved(ds: Any) -> None:
        ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]

    assert read(lambda ds: None).all()
    for change, words in ((turned, "turned against"), (moved, "not where")):
        with pytest.raises(DataError, match=f"LBL-GEOMETRY.*{words}"):
            read(change)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("seg", "series", "truths"),
    [
        ("liver.dcm", "ct-3slice", [("liver_seg.nrrd", 1)]),
        ("23x38x3/seg/label.seg", "23x38x3/image", [("23x38x3/nrrd/label.nrrd", 1)]),
        ("24x38x3/seg/label.seg", "24x38x3/image", [("24x38x3/nrrd/label.nrrd", 1)]),
        ("23x38x3/seg/label.seg", "23x38x3/multiframe", [("23x38x3/nrrd/label.nrrd", 1)]),
        ("24x38x3/seg/label.seg", "24x38x3/multiframe", [("24x38x3/nrrd/label.nrrd", 1)]),
        ("sparse-labelmap-noppv.dcm", "24x38x3/image", [("sparse_labelmap_noppv_seg.nrrd", 1)]),
        ("sparse-labelmap-ppv5.dcm", "24x38x3/image", [("sparse_labelmap_ppv5_seg.nrrd", 1)]),  # 5 is where nothing was stored
        ("partial_overlaps.dcm", "ct-3slice", [(f"partial_overlaps-{n}.nrrd", None) for n in (1, 2, 3)]),
    ],
)
def test_segmentations_of_dcmqi_equal_their_nrrd(
    real_data: Path, make_study: Any, make_site: Any, seg: str, series: str, truths: list[tuple[str, int | None]]
) -> None:
    root = real_data / "dicom" / "seg-dcmqi"
    source = Source("dicom", tuple(sorted((root / series).glob("*.dcm"))))
    names = tuple((colour, "liver") for colour in ("green", "orange", "purple", "light_blue", "dark_blue"))
    match = "frame-of-reference" if series.endswith("multiframe") else "references"  # drawn on the single-frame images
    site = make_site(root, min_slices=3, label_names=names, label_match=match)
    image = read_series(source.paths, site.data)
    found = read_seg(root / seg, image, source, make_study(task__modality="CT", task__classes=CLASSES), site)
    expected = np.zeros(image.shape, dtype=bool)
    for truth, value in truths:
        values, affine = read_nrrd(root / truth)
        here, moved = reorient(values, affine, image.affine)
        np.testing.assert_allclose(moved, image.affine, atol=2e-3)
        expected |= here == value if value else here > 0
    assert expected.any()
    np.testing.assert_array_equal(found == 1, expected)


@pytest.mark.realdata
def test_overlapping_segments_of_dcmqi_are_refused(real_data: Path, make_study: Any, make_site: Any) -> None:
    root = real_data / "dicom" / "seg-dcmqi"
    source = Source("dicom", tuple(sorted((root / "ct-3slice").glob("*.dcm"))))
    study = make_study(task__classes="background,green,orange,purple,light_blue,dark_blue")
    site = make_site(root, min_slices=3)
    with pytest.raises(DataError, match="LBL-OVERLAP"):
        read_seg(root / "partial_overlaps.dcm", read_series(source.paths, site.data), source, study, site)
