"""SEG objects that contradict themselves, and SEG objects and RTSTRUCTs that list more than one series."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.cohort import read_cohort
from medfl.data.dicom.headers import read_headers
from medfl.data.dicom.image_slices import locate_images
from medfl.data.dicom.references import check_references, read_references
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_series
from medfl.data.dicom.slices import get_slice_geometry
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.dicom.drawing import sort_by_position, write_rtstruct, write_seg
from tests.data.dicom.phantom import DISTANCE, ORIGIN, stack, write_enhanced, write_slices
from tests.data.dicom.seg_scene import GRID, blocks

Change = Callable[[Any], None]


def frames_of(ds: Any) -> Any:
    return ds.PerFrameFunctionalGroupsSequence


def position(frame: Any) -> Any:
    return frame.PlanePositionSequence[0]


def source(frame: Any) -> Any:
    return frame.DerivationImageSequence[0].SourceImageSequence[0]


def refer_one_slice_up(ds: Any) -> None:
    uids = [source(frame).ReferencedSOPInstanceUID for frame in frames_of(ds)]
    for frame, uid in zip(frames_of(ds), [*uids[1:], uids[0]], strict=True):
        source(frame).ReferencedSOPInstanceUID = uid


def one_refers_elsewhere(ds: Any) -> None:
    source(frames_of(ds)[1]).ReferencedSOPInstanceUID = source(frames_of(ds)[3]).ReferencedSOPInstanceUID


def move_up(share: float, *, only: int | None = None) -> Change:
    def change(ds: Any) -> None:
        for n, frame in enumerate(frames_of(ds)):
            if only in (n, None):
                x, y, z = map(float, position(frame).ImagePositionPatient)
                position(frame).ImagePositionPatient = [x, y, z + share * DISTANCE]

    return change


def swap_places(ds: Any) -> None:
    """Exchange position and source of two frames, but not their dimension indices."""
    one, other = frames_of(ds)[1:3]
    for sequence in ("PlanePositionSequence", "DerivationImageSequence"):
        mine, theirs = deepcopy(one[sequence].value), deepcopy(other[sequence].value)
        setattr(one, sequence, theirs)
        setattr(other, sequence, mine)


def without_sources(change: Change) -> Change:
    def do_both(ds: Any) -> None:
        change(ds)
        for frame in frames_of(ds):
            del frame.DerivationImageSequence

    return do_both


def put_at_one_place(ds: Any) -> None:
    frames_of(ds)[2].PlanePositionSequence = frames_of(ds)[1].PlanePositionSequence
    frames_of(ds)[2].DerivationImageSequence = frames_of(ds)[1].DerivationImageSequence


def number_in_stack(*numbers: int) -> Change:
    def change(ds: Any) -> None:
        del ds.DimensionIndexSequence
        for frame, number in zip(frames_of(ds), numbers, strict=True):
            frame.FrameContentSequence[0].InStackPositionNumber, frame.FrameContentSequence[0].StackID = number, "1"

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (refer_one_slice_up, "4 of 4 frames .* elsewhere than the image"),
        (one_refers_elsewhere, "1 of 4 frames .* elsewhere than the image"),
        (without_sources(swap_places), "dimension indices .* contradict their positions"),
        (put_at_one_place, "1 frame.* another frame shows it"),
        (without_sources(number_in_stack(1, 3, 2, 4)), "numbers in the stack .* contradict their positions"),
        (without_sources(number_in_stack(1, 1, 2, 3)), "numbers in the stack .* contradict their positions"),
        (move_up(1.0), "4 of 4 frames .* elsewhere than the image"),  # each on the next slice
    ],
)
def test_frames_that_contradict_each_other_or_their_images_are_refused(
    make_seg_scene: Any, change: Change, message: str
) -> None:
    with pytest.raises(DataError, match=f"LBL-FRAMES.*{message}"):
        make_seg_scene().read({"liver": blocks()[0]}, change=change)


def test_positions_that_images_confirm_count_more_than_an_order(make_seg_scene: Any) -> None:
    scene, (liver, _) = make_seg_scene(), blocks()
    liver[7, 7, 2] = 1
    path = write_seg(scene.folder / "seg.dcm", scene.paths, {"liver": liver}, change=swap_places)
    mask, (warning,) = read_seg(path, scene.image, scene.source, scene.study, scene.site)
    assert (warning.code, warning.level) == ("LBL-FRAMES", "warning")
    np.testing.assert_array_equal(mask, liver[..., [0, 1, 3, 2, *range(4, 10)]])


@pytest.mark.parametrize("numbers", [(1, 3, 2, 4), (2, 4, 1, 3), (1, 1, 2, 3)])
def test_numbers_in_the_stack_in_the_order_of_files_are_a_warning_too(make_seg_scene: Any, numbers: tuple[int, ...]) -> None:
    scene, (liver, _) = make_seg_scene(), blocks()
    path = write_seg(scene.folder / "seg.dcm", scene.paths, {"liver": liver}, change=number_in_stack(*numbers))
    mask, (warning,) = read_seg(path, scene.image, scene.source, scene.study, scene.site)
    assert (warning.code, warning.level) == ("LBL-FRAMES", "warning")
    assert "numbers in the stack" in warning.what
    np.testing.assert_array_equal(mask, liver)


def test_indices_that_contradict_the_segment_numbers_are_refused(make_seg_scene: Any) -> None:
    def swap_indices(ds: Any) -> None:
        for frame in (frames_of(ds)[0], frames_of(ds)[-1]):
            content = frame.FrameContentSequence[0]
            segment, *others = content.DimensionIndexValues
            content.DimensionIndexValues = [3 - segment, *others]

    liver, lesion = blocks()
    with pytest.raises(DataError, match=r"LBL-FRAMES.*segment numbers"):
        make_seg_scene().read({"liver": liver, "lesion": lesion}, change=swap_indices)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_numbers_that_fit_or_say_nothing_do_no_harm(make_seg_scene: Any, kind: str) -> None:
    def same_indices(ds: Any) -> None:
        for frame in frames_of(ds):
            frame.FrameContentSequence[0].DimensionIndexValues = [1] * len(ds.DimensionIndexSequence)

    def refer_to_neighbours_too(ds: Any) -> None:
        items = [source(frame) for frame in frames_of(ds)]
        for frame in frames_of(ds):
            frame.DerivationImageSequence[0].SourceImageSequence = deepcopy(items)

    def without_spacing(ds: Any) -> None:
        del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence

    liver, _ = blocks()
    scene = make_seg_scene()
    for change in (same_indices, refer_to_neighbours_too, without_spacing, number_in_stack(4, 3, 2, 1)):
        np.testing.assert_array_equal(scene.read({"liver": liver}, kind, change=change), liver)


@pytest.mark.parametrize("share", [0.12, 0.2, 0.5, -0.3])
def test_frames_between_slices_are_refused(make_seg_scene: Any, share: float) -> None:
    scene, (liver, _) = make_seg_scene(), blocks()
    for change in (move_up(share), move_up(share, only=1)):
        with pytest.raises(DataError, match="LBL-GEOMETRY"):
            scene.read({"liver": liver}, change=change)
    np.testing.assert_array_equal(scene.read({"liver": liver}, change=move_up(0.09)), liver)


def test_a_pixel_spacing_unlike_that_of_the_image_is_refused(make_seg_scene: Any) -> None:
    def swap_spacings(ds: Any) -> None:
        measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        measures.PixelSpacing = measures.PixelSpacing[::-1]

    with pytest.raises(DataError, match="LBL-GEOMETRY"):
        make_seg_scene().read({"liver": blocks()[0]}, change=swap_spacings)


def test_positions_that_are_no_numbers_are_refused(make_seg_scene: Any) -> None:
    def damage(ds: Any) -> None:
        position(frames_of(ds)[0]).ImagePositionPatient = [1.0, 2.0]

    with pytest.raises(DataError, match="LBL-READ"):
        make_seg_scene().read({"liver": blocks()[0]}, change=damage)


def test_two_segments_of_one_number_are_refused(make_seg_scene: Any) -> None:
    def repeat_number(ds: Any) -> None:
        ds.SegmentSequence[1].SegmentNumber = 1

    liver, lesion = blocks()
    with pytest.raises(DataError, match=r"LBL-READ.*two segments .* one number"):
        make_seg_scene().read({"liver": liver, "lesion": lesion}, change=repeat_number)


def test_values_above_the_highest_that_is_declared_are_refused(make_seg_scene: Any) -> None:
    liver, _ = blocks()

    def lower_maximum(ds: Any) -> None:
        ds.MaximumFractionalValue = 100

    with pytest.raises(DataError, match=r"LBL-VALUES.*above 100"):
        make_seg_scene().read({"liver": liver}, "FRACTIONAL", max_fractional_value=200, change=lower_maximum)


def test_frames_that_each_begin_at_a_byte_are_refused(make_seg_scene: Any) -> None:
    def pad_frames(ds: Any) -> None:
        ds.PixelData = ds.PixelData + bytes(2 * len(frames_of(ds)))

    liver, _ = blocks()
    with pytest.raises(DataError, match=r"LBL-READ.*bytes of pixels"):
        make_seg_scene().read({"liver": liver}, change=pad_frames)
    with pytest.raises(DataError, match=r"LBL-READ.*bytes of pixels"):
        make_seg_scene().read({"liver": liver}, "FRACTIONAL", change=pad_frames)


@pytest.mark.parametrize(("shift", "fits"), [(1, True), (None, True), (0, False), (2, False)])
def test_frames_refer_to_frames_of_an_enhanced_object(make_seg_scene: Any, shift: int | None, fits: bool) -> None:
    scene, (liver, _) = make_seg_scene(), blocks()
    path = write_enhanced(scene.folder / "enhanced.dcm", stack())
    uid = pydicom.dcmread(path).SOPInstanceUID

    def refer_to_enhanced(ds: Any) -> None:
        instances = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances[:1]
        instances[0].ReferencedSOPInstanceUID = uid
        for frame in frames_of(ds):
            source(frame).ReferencedSOPInstanceUID = uid
            if shift is not None:
                k = round((float(position(frame).ImagePositionPatient[2]) - ORIGIN[2]) / DISTANCE)
                source(frame).ReferencedFrameNumber = k + shift

    label = write_seg(scene.folder / "seg.dcm", scene.paths, {"liver": liver}, change=refer_to_enhanced)
    arguments = read_series([path], scene.site.data), Source("dicom", (path,)), scene.study, scene.site
    if fits:
        np.testing.assert_array_equal(read_seg(label, *arguments)[0], liver)
        return
    with pytest.raises(DataError, match=r"LBL-FRAMES.*4 of 4 frames"):
        read_seg(label, *arguments)


def test_segment_zero_of_a_labelmap_is_the_background(make_seg_scene: Any) -> None:
    def describe_zero(label: str) -> Change:
        def change(ds: Any) -> None:
            (zero,) = (segment for segment in ds.SegmentSequence if segment.SegmentNumber == 0)
            zero.SegmentLabel = label

        return change

    liver, _ = blocks()
    for label in ("Background", "CANARY"):
        np.testing.assert_array_equal(make_seg_scene().read({"liver": liver}, "LABELMAP", change=describe_zero(label)), liver)
    with pytest.raises(DataError, match=r"LBL-VALUES.*number 0"):
        make_seg_scene().read({"liver": liver}, "LABELMAP", change=describe_zero("lesion"))


def test_labels_are_held_against_the_positions_of_images_which_a_grid_evens_out(make_seg_scene: Any) -> None:
    def uneven(k: int, ds: Any) -> None:
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, z + (0.15 if k in (3, 4) else 0.0)]

    scene = make_seg_scene()
    paths = write_slices(scene.folder / "uneven", change=uneven)
    slices = get_slice_geometry(scene.image)
    located, stated = locate_images(read_headers(paths), slices)
    assert sorted(k for frames in located.values() for k in frames.values()) == list(range(10))
    assert (stated.positions - slices.positions)[:, 2].round(6).tolist() == [0, 0, 0, 0.15, 0.15, 0, 0, 0, 0, 0]


def list_second_series(ds: Any) -> None:
    """List a registered series, as an ADC map beside a T2."""
    item = deepcopy(ds.ReferencedSeriesSequence[0])
    item.SeriesInstanceUID = "1.2.77"
    for n, reference in enumerate(item.ReferencedInstanceSequence):
        reference.ReferencedSOPInstanceUID = f"1.2.77.{n}"
    ds.ReferencedSeriesSequence.append(item)


def draw_on_both(ds: Any) -> None:
    list_second_series(ds)
    for n, frame in enumerate(frames_of(ds)):
        second = deepcopy(source(frame))
        second.ReferencedSOPInstanceUID = f"1.2.77.{n}"
        frame.DerivationImageSequence[0].SourceImageSequence.append(second)


def draw_some_on_both(ds: Any) -> None:
    draw_on_both(ds)
    frames_of(ds)[0].DerivationImageSequence[0].SourceImageSequence.pop()


def list_only(ds: Any) -> None:
    list_second_series(ds)
    for frame in frames_of(ds):
        del frame.DerivationImageSequence


def draw_each_on_one(ds: Any) -> None:
    list_second_series(ds)
    source(frames_of(ds)[0]).ReferencedSOPInstanceUID = "1.2.77.0"


@pytest.mark.parametrize(
    ("change", "fits_second"),
    [(list_second_series, False), (draw_on_both, True), (draw_some_on_both, False), (list_only, True)],
)
def test_a_segmentation_that_lists_two_series_belongs_to_that_of_its_frames(
    make_seg_scene: Any, change: Change, fits_second: bool
) -> None:
    scene, (liver, _) = make_seg_scene(), blocks()
    np.testing.assert_array_equal(scene.read({"liver": liver}, change=change), liver)
    references = read_references(scene.folder / "seg.dcm")
    second = {f"1.2.77.{n}" for n in range(10)}
    assert references.fits(second) == fits_second
    mine = {str(ds.SOPInstanceUID) for ds in sort_by_position(scene.paths)}
    assert references.fits(mine)
    with pytest.raises(DataError, match="LBL-PARTIAL-REF"):  # re-exported, and in part only
        check_references(references, mine - {str(sort_by_position(scene.paths)[9].SOPInstanceUID)}, "1.2.5", SiteData())


def test_frames_of_two_series_are_refused(make_seg_scene: Any) -> None:
    with pytest.raises(DataError, match="LBL-PARTIAL-REF"):
        make_seg_scene().read({"liver": blocks()[0]}, change=draw_each_on_one)


def triangle(ds: Any) -> NDArray[np.float64]:
    return np.asarray(np.array(ds.ImagePositionPatient, dtype=float) + np.array([[5.0, 5, 0], [12, 5, 0], [5, 12, 0]]))


@pytest.mark.parametrize("with_references", [True, False])
def test_contours_belong_to_the_series_they_name_and_not_to_a_registered_one(tmp_path: Path, with_references: bool) -> None:
    paths = write_slices(tmp_path / "series")
    datasets = sort_by_position(paths)

    def list_registered(rt: Any) -> None:
        (study,) = rt.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
        item = deepcopy(study.RTReferencedSeriesSequence[0])
        item.SeriesInstanceUID = "1.2.77"
        for n, reference in enumerate(item.ContourImageSequence):
            reference.ReferencedSOPInstanceUID = f"1.2.77.{n}"
        study.RTReferencedSeriesSequence.append(item)

    contours = [(triangle(ds), ds if with_references else None) for ds in datasets[3:6]]
    path = write_rtstruct(tmp_path / "rt.dcm", paths, {"liver": contours}, change=list_registered)
    references = read_references(path)
    check_references(references, {str(ds.SOPInstanceUID) for ds in datasets}, "1.2.5", SiteData())
    assert references.fits({f"1.2.77.{n}" for n in range(10)}) != with_references
    with pytest.raises(DataError, match="LBL-PARTIAL-REF"):
        check_references(references, {str(ds.SOPInstanceUID) for ds in datasets[:8]}, "1.2.5", SiteData())


@pytest.mark.parametrize(
    ("change", "present", "code"),
    [
        (list_second_series, False, ""),
        (list_second_series, True, ""),
        (list_only, False, ""),
        (draw_on_both, True, "LBL-WRONG-SERIES"),  # nothing says which is meant
    ],
)
def test_a_label_that_lists_two_series_is_found_in_a_folder(
    tmp_path: Path, make_study: Any, make_site: Any, change: Change, present: bool, code: str
) -> None:
    liver = np.zeros(GRID, dtype=np.uint8)
    liver[3:9, 3:9, 2:6] = 1
    data = tmp_path / "data"
    paths = write_slices(data / "series")
    write_seg(data / "seg.dcm", paths, {"organ": liver}, change=change)
    if present:

        def rename(k: int, ds: Any) -> None:
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.77.{k}"

        write_slices(data / "second", change=rename, series="1.2.77")
    cohort = read_cohort(make_site(data, layout="dicom"), make_study(task__modality="CT"))
    assert [len(case.image.paths) for case in cohort.cases] == ([] if code else [10])
    assert {finding.code for finding in cohort.findings if finding.level == "error"} >= ({code} if code else set())
    if not code:
        assert {path.parent.name for path in cohort.cases[0].image.paths} == {"series"}
