"""RTSTRUCT contours as masks: geometry, holes, frames of reference, gaps, and damaged objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.draw import polygon

from medfl.data.cases import Source
from medfl.data.dicom.contour_outlines import wind
from medfl.data.dicom.rtstruct import read_rtstruct
from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS
from medfl.errors import DataError
from tests.data.dicom.drawing import ellipse
from tests.data.dicom.phantom import AXIAL, DISTANCE, PIXEL
from tests.data.dicom.rtstruct_scene import CLASSES, Axes
from tests.data.dicom.writing import CORONAL, SAGITTAL, oblique


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL, oblique()], ids=["axial", "sagittal", "coronal", "oblique"])
@pytest.mark.parametrize("radii", [(9.3, 9.3), (11.2, 5.7)], ids=["circle", "ellipse"])
def test_a_cylinder_has_the_expected_voxels(make_rtstruct_scene: Any, axes: Axes, radii: tuple[float, float]) -> None:
    scene = make_rtstruct_scene(axes)
    mask, warnings = scene.read({"Liver": [scene.draw_ellipse(k, radii) for k in (7, 2, 3, 4, 6, 5)]})  # unordered
    inside, either = scene.within(radii)
    inside[..., :2] = inside[..., 8:] = False
    assert np.array_equal(mask[~either] == 1, inside[~either])
    assert mask.max() == 1
    assert warnings == []
    assert mask[..., 4].sum() * PIXEL[0] * PIXEL[1] == pytest.approx(np.pi * radii[0] * radii[1], rel=0.06)


def test_slices_that_were_stored_descending_are_the_same(make_rtstruct_scene: Any, tmp_path: Path) -> None:
    scene = make_rtstruct_scene(distance=-DISTANCE)
    mask, _ = scene.read({"liver": [scene.draw_ellipse(2, (9.3, 9.3))]})
    inside, either = scene.within((9.3, 9.3))
    assert np.array_equal(mask[..., 2][~either[..., 2]] == 1, inside[..., 2][~either[..., 2]])
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [2]


@pytest.mark.parametrize("axes", [AXIAL, oblique()], ids=["axial", "oblique"])
def test_a_hole_may_be_a_contour_of_its_own_or_a_keyhole(make_rtstruct_scene: Any, axes: Axes) -> None:
    scene = make_rtstruct_scene(axes)
    outer, inner = scene.draw_ellipse(4, (10.1, 10.1)), scene.draw_ellipse(4, (5.2, 5.2))
    keyhole = np.concatenate([outer[0], outer[0][:1], inner[0][:1], inner[0][::-1]])  # out, over the bridge, round and back
    two, _ = scene.read({"liver": [outer, inner]})
    one, _ = scene.read({"liver": [(keyhole, scene.datasets[4])]})
    (big, edge), (small, rim) = scene.within((10.1, 10.1)), scene.within((5.2, 5.2))
    ring, either = (big & ~small)[..., 4], (edge | rim)[..., 4]
    for mask in (two, one):
        assert np.array_equal(mask[..., 4][~either] == 1, ring[~either])
    assert 0 < ring.sum() < big[..., 4].sum()


def test_an_island_in_a_hole_and_a_copy_of_a_contour(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene()
    rings = [scene.draw_ellipse(4, (radius, radius)) for radius in (10.1, 6.6, 3.2)]
    mask, _ = scene.read({"liver": [*rings, rings[0]]})
    count = [int(scene.within((r, r))[0][..., 4].sum()) for r in (10.1, 6.6, 3.2)]
    assert mask.sum() == count[0] - count[1] + count[2]


def test_copies_of_a_contour_count_once_however_they_are_written(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene()
    points, image = scene.draw_ellipse(4, (9.3, 9.3))
    once, _ = scene.read({"liver": [(points, image)]})
    closed = np.concatenate([points, points[:1]])
    for copy in (closed, np.roll(points, 100, axis=0), np.concatenate([points[:1], points])):
        twice, _ = scene.read({"liver": [(points, image), (copy, image)]})
        assert np.array_equal(twice, once)
    for turned in (points[::-1], closed[::-1]):  # the sign of a hole: a wall of one pixel has the same line on both sides
        with pytest.raises(DataError, match=r"LBL-CONTOURS.*opposite directions"):
            scene.read({"liver": [(points, image), (turned, image)]})
    moved, _ = scene.read({"liver": [(points, image), (points + np.array([1.25, 0, 0]), image)]})
    assert moved.sum() > once.sum()  # not a copy, and joined


def test_rois_of_another_frame_of_reference_are_refused(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene(data={"label_names": (("MR", "background"),)})
    rois = {
        "liver": [scene.draw_ellipse(4, (9.3, 9.3))],
        "lesion": [scene.draw_ellipse(7, (5.0, 5.0))],
        "MR": [scene.draw_ellipse(4, (9.3, 9.3))],
    }

    def registered(*frames: str) -> Any:
        def change(rt: Any) -> None:
            for region, frame in zip(rt.StructureSetROISequence, frames, strict=True):
                region.ReferencedFrameOfReferenceUID = frame

        return change

    frame_of_reference = str(scene.datasets[0].FrameOfReferenceUID)
    mask, _ = scene.read(rois, change=registered(frame_of_reference, frame_of_reference, "1.9"))  # that of the MR is not used
    assert np.unique(mask).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"LBL-WRONG-SERIES.*1 of 2 ROIs.*another frame"):
        scene.read(rois, change=registered(frame_of_reference, "1.9", frame_of_reference))
    with pytest.raises(DataError, match=r"LBL-WRONG-SERIES.*another frame"):
        scene.read(rois, change=registered("1.9", "1.9", "1.9"))

    def make_up_frame(rt: Any) -> None:
        registered("1.9", "1.9", "1.9")(rt)
        rt.FrameOfReferenceUID = rt.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.9"

    mask, warnings = scene.read(rois, change=make_up_frame)  # a single UID, not that of the series, and all the right images
    assert np.unique(mask).tolist() == [0, 1, 2]
    assert [warning.code for warning in warnings] == ["LBL-FRAME"]


def test_contours_on_every_second_slice_are_refused_and_a_gap_is_a_warning(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene()

    def draw_on(*slices: int) -> list[Any]:
        return [scene.draw_ellipse(k, (5.0, 5.0)) for k in slices]

    for slices in ((1, 3, 5), (0, 3, 6, 9)):
        with pytest.raises(DataError, match=rf"LBL-GAPS.*1 ROI.*one slice in {slices[1] - slices[0]} only"):
            scene.read({"liver": draw_on(*slices), "lesion": []})
    mask, warnings = scene.read({"liver": draw_on(1, 2, 4, 6)})
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [1, 2, 4, 6]
    assert [w.code for w in warnings] == ["LBL-GAPS"]
    assert scene.read({"liver": draw_on(1, 2, 6, 7)})[1] == []  # two of them


def test_a_mask_traced_through_the_centres_of_its_pixels_is_reproduced(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene(oblique())
    origin, (row, column) = np.array(scene.datasets[3].ImagePositionPatient, dtype=float), map(np.asarray, oblique())
    corners = np.array([[4, 5], [9, 5], [9, 13], [4, 13]]) * [PIXEL[1], PIXEL[0]]
    points = origin + corners[:, :1] * row + corners[:, 1:] * column
    mask, _ = scene.read({"liver": [(points, scene.datasets[3])]})
    expected = np.zeros(scene.image.shape, dtype=bool)
    expected[4:10, 5:14, 3] = True
    assert np.array_equal(mask == 1, expected)


def test_a_tilted_series_is_drawn_on_as_it_was_acquired(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene(tilt=15.0, count=12, data={"gantry_tilt": "resample"})
    middle = scene.centre(6)
    upright = [(ellipse([*middle[:2], scene.centre(k)[2]], AXIAL, (7.0, 7.0)), scene.datasets[k]) for k in range(12)]
    mask, _ = scene.read({"liver": upright})
    assert scene.image.acquired_geometry is not None
    assert mask.shape == scene.image.shape != scene.image.acquired_geometry.shape
    offsets = scene.offsets()[..., :2] + scene.centre(0)[:2] - middle[:2]
    radius = np.hypot(offsets[..., 0], offsets[..., 1])
    assert (mask[radius < 7.0 - max(PIXEL)] == 1).all()
    assert (mask[radius > 7.0 + max(PIXEL)] == 0).all()


def test_names_are_matched_to_classes_and_rois_of_one_class_are_joined(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene(data={"label_names": (("GTV1", "Lesion"), ("GTV2", "lesion"), ("*", "background"))})
    left, right = (
        scene.draw_ellipse(3, (2.6, 2.6), (-6.0, 0.0, 0.0)),
        scene.draw_ellipse(3, (2.6, 2.6), (6.0, 0.0, 0.0)),
    )
    mask, _ = scene.read(
        {
            "gtv1 ": [left],
            "GTV2": [right],
            "LIVER": [scene.draw_ellipse(7, (5.0, 5.0))],
            "CANARY": [scene.draw_ellipse(5, (9.0, 9.0))],
        }
    )
    assert {k: sorted(np.unique(mask[..., k]).tolist()) for k in (3, 5, 7)} == {3: [0, 2], 5: [0], 7: [0, 1]}
    assert mask[:10, :, 3].any()
    assert mask[10:, :, 3].any()


def test_names_of_no_class_are_refused_without_repeating_them(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene()
    with pytest.raises(DataError, match=r"LBL-CLASSNAME.*1 of 2 ROIs.*liver, lesion.*label-names") as caught:
        scene.read({"liver": [scene.draw_ellipse(3, (5.0, 5.0))], "CANARY": [scene.draw_ellipse(3, (5.0, 5.0))], "EMPTY": []})
    assert "CANARY" not in str(caught.value)


def test_rois_of_different_classes_must_not_overlap(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene()
    with pytest.raises(DataError, match="LBL-OVERLAP"):
        scene.read({"liver": [scene.draw_ellipse(3, (5.0, 5.0))], "lesion": [scene.draw_ellipse(3, (3.0, 3.0))]})


def test_contours_off_the_slices_are_refused(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene()
    points, image = scene.draw_ellipse(3, (6.0, 6.0))
    tilted = points + np.outer(points[:, 0] - points[:, 0].mean(), [0.0, 0.0, 0.1])  # rises by 1.2 mm
    with pytest.raises(DataError, match=r"LBL-PLANE.*1 of 1.*tilted"):
        scene.read({"liver": [(tilted, image)]})
    finer = [scene.draw_ellipse(3, (6.0, 6.0), (0.0, 0.0, dz)) for dz in (-1.0, 0.0, 1.0)]  # drawn on slices of 1 mm
    with pytest.raises(DataError, match=r"LBL-PLANE.*2 of 3.*other slices"):
        scene.read({"liver": [(points, None) for points, _ in finer]})
    near, _ = scene.read({"liver": [scene.draw_ellipse(3, (6.0, 6.0), (0.0, 0.0, 0.09 * DISTANCE))]})
    assert np.flatnonzero(near.any(axis=(0, 1))).tolist() == [3]


def test_contours_outside_the_volume_are_reported(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene()
    inside = [scene.draw_ellipse(k, (9.0, 9.0)) for k in range(10)]
    above = (scene.draw_ellipse(9, (9.0, 9.0), (0.0, 0.0, DISTANCE))[0], None)
    with pytest.raises(DataError, match=r"LBL-OUTSIDE.*9\.09 %"):
        scene.read({"liver": [*inside, above]})
    with pytest.raises(DataError, match="LBL-OUTSIDE"):
        scene.read({"liver": [scene.draw_ellipse(4, (9.0, 9.0), (10.0, 0.0, 0.0))]})
    speck = (scene.draw_ellipse(9, (1.0, 1.0), (0.0, 0.0, DISTANCE))[0], None)
    mask, warnings = scene.read({"liver": [*inside, speck]})
    assert [warning.code for warning in warnings] == ["LBL-OUTSIDE"]
    assert mask.any()


def test_points_and_open_lines_are_left_out_with_a_warning(make_rtstruct_scene: Any) -> None:
    scene = make_rtstruct_scene()
    line = scene.draw_ellipse(3, (6.0, 6.0))
    mask, warnings = scene.read({"liver": [line]}, contour_type="OPEN_PLANAR")
    assert not mask.any()
    assert [(w.code, w.what.split()[0]) for w in warnings] == [("LBL-OPEN", "1")]


def test_damaged_contours_are_refused(make_rtstruct_scene: Any) -> None:
    def truncate(rt: Any) -> None:
        contour = rt.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData = contour.ContourData[:-1]

    def remove_rois(rt: Any) -> None:
        rt.StructureSetROISequence = []

    scene = make_rtstruct_scene()
    for change in (truncate, remove_rois):
        with pytest.raises(DataError, match="LBL-READ"):
            scene.read({"liver": [scene.draw_ellipse(3, (6.0, 6.0))]}, change=change)


def test_outlines_are_filled_as_by_scikit_image() -> None:
    rng = np.random.default_rng(5)
    angle = np.linspace(0, 2 * np.pi, 500, endpoint=False) + 1e-3  # no corner in the centre of a pixel
    for roughness in (0.0, 0.3, 3.0):  # a circle, a coastline, and one that crosses itself
        radius = 40 + np.cumsum(rng.normal(0, roughness, 500))
        corners = np.stack([60 + radius * np.cos(angle), 70 + 1.4 * radius * np.sin(angle)], axis=1)
        expected = np.zeros((110, 150), dtype=np.uint8)
        expected[polygon(corners[:, 0], corners[:, 1], expected.shape)] = 1
        assert np.array_equal(wind(corners, (110, 150)) % 2, expected)


@pytest.mark.realdata
def test_contours_of_a_planning_system(real_data: Path, make_study: Any, make_site: Any) -> None:
    root = real_data / "dicom" / "rtstruct-mock"
    source = Source("dicom", (root / "ct_1.dcm", root / "ct_2.dcm"))
    site = make_site(root, min_slices=2, label_names=(("ROI-1", "liver"),))
    image, study = read_series(source.paths, site.data), make_study(task__modality="CT", task__classes=CLASSES)
    mask, warnings = read_rtstruct(root / "rt.dcm", image, source, study, site)
    assert "LBL-FRAME" in [warning.code for warning in warnings]  # made up by the program that wrote it
    # on the slice at 60 mm a square of 24 mm with a hole: a square of 15 mm that lacks half a square millimetre at a corner
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [0]
    pixel = 0.488281**2
    assert mask.sum() * pixel == pytest.approx(24 * 24 - (15 * 15 - 0.5), rel=0.03)
    index = np.linalg.inv(LPS_TO_RAS @ image.affine) @ [-49.0, -49.0, 60.0, 1.0]
    assert mask[tuple(np.round(index[:3]).astype(int))] == 1
    for name in ("invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"):
        with pytest.raises(DataError, match=r"LBL-PARTIAL-REF.*has 2"):
            read_rtstruct(root / name, image, source, study, site)
