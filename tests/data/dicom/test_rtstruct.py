from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.draw import polygon

from medfl.data.cases import Source
from medfl.data.dicom.rtstruct import _fill_polygon, read_rtstruct
from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS, Volume
from medfl.errors import DataError
from tests.data.dicom.drawing import ellipse, in_order, write_rtstruct
from tests.data.dicom.phantom import AXIAL, DISTANCE, PIXEL, SHAPE, stack, write
from tests.data.dicom.writing import CORONAL, SAGITTAL, oblique

CLASSES = "background,liver,lesion"
Axes = tuple[Any, Any]


class Scene:
    """A series of the phantom, its image, and a pen."""

    def __init__(self, folder: Path, study: Any, site: Any, axes: Axes = AXIAL, **options: Any) -> None:
        self.folder, self.axes, self.study, self.site = folder, axes, study, site
        self.places = stack(axes=axes, **options)
        self.paths = write(folder / "series", self.places, axes=axes)
        self.datasets = in_order(self.paths)
        self.source = Source("dicom", tuple(self.paths))
        self.image = read_series(self.paths, site.data)

    def centre(self, k: int) -> NDArray[np.float64]:
        """Return the middle of a slice."""
        row, column = (np.asarray(axis, dtype=float) for axis in self.axes)
        half = (SHAPE[1] - 1) / 2 * PIXEL[1], (SHAPE[0] - 1) / 2 * PIXEL[0]
        return np.asarray(np.array(self.datasets[k].ImagePositionPatient, dtype=float) + half[0] * row + half[1] * column)

    def oval(self, k: int, radii: tuple[float, float], move: Any = (0.0, 0.0, 0.0)) -> tuple[NDArray[np.float64], Any]:
        return ellipse(self.centre(k) + np.asarray(move), self.axes, radii), self.datasets[k]

    def read(self, regions: dict[str, Any], **options: Any) -> tuple[NDArray[np.uint8], list[DataError]]:
        path = write_rtstruct(self.folder / "rt.dcm", self.paths, regions, **options)
        return read_rtstruct(path, self.image, self.source, self.study, self.site)

    def offsets(self, image: Volume | None = None) -> NDArray[np.float64]:
        """Return where each voxel lies along the row and the column from the middle of slice 0, and along the normal."""
        image = image or self.image
        index = np.stack(np.meshgrid(*(np.arange(n) for n in image.shape), indexing="ij"), axis=-1)
        affine = LPS_TO_RAS @ image.affine
        off = index @ affine[:3, :3].T + affine[:3, 3] - self.centre(0)
        row, column = (np.asarray(axis, dtype=float) for axis in self.axes)
        return np.stack([off @ row, off @ column, off @ np.cross(row, column)], axis=-1)

    def within(self, radii: tuple[float, float]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which voxels lie in an ellipse on any slice, and which so near its line that either is right."""
        off = self.offsets()
        radius = np.hypot(off[..., 0] / radii[0], off[..., 1] / radii[1])
        return radius <= 1, np.abs(radius - 1) * min(radii) < 0.01 * max(PIXEL)


@pytest.fixture
def scene(tmp_path: Path, make_study: Any, make_site: Any) -> Any:
    def make(axes: Axes = AXIAL, data: dict[str, Any] | None = None, **options: Any) -> Scene:
        study = make_study(task__modality="CT", task__classes=CLASSES)
        return Scene(tmp_path, study, make_site(tmp_path, **(data or {})), axes, **options)

    return make


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL, CORONAL, oblique()], ids=["axial", "sagittal", "coronal", "oblique"])
@pytest.mark.parametrize("radii", [(9.3, 9.3), (11.2, 5.7)], ids=["circle", "ellipse"])
def test_a_cylinder_is_where_mathematics_puts_it(scene: Any, axes: Axes, radii: tuple[float, float]) -> None:
    s = scene(axes)
    found, warnings = s.read({"Liver": [s.oval(k, radii) for k in (7, 2, 3, 4, 6, 5)]})  # in no order
    inside, either = s.within(radii)
    inside[..., :2] = inside[..., 8:] = False
    assert np.array_equal(found[~either] == 1, inside[~either])
    assert found.max() == 1
    assert warnings == []
    assert found[..., 4].sum() * PIXEL[0] * PIXEL[1] == pytest.approx(np.pi * radii[0] * radii[1], rel=0.06)


def test_slices_that_were_stored_descending_are_the_same(scene: Any, tmp_path: Path) -> None:
    s = scene(distance=-DISTANCE)
    found, _ = s.read({"liver": [s.oval(2, (9.3, 9.3))]})
    inside, either = s.within((9.3, 9.3))
    assert np.array_equal(found[..., 2][~either[..., 2]] == 1, inside[..., 2][~either[..., 2]])
    assert np.flatnonzero(found.any(axis=(0, 1))).tolist() == [2]


@pytest.mark.parametrize("axes", [AXIAL, oblique()], ids=["axial", "oblique"])
def test_a_hole_is_a_hole_as_a_contour_of_its_own_and_by_a_keyhole(scene: Any, axes: Axes) -> None:
    s = scene(axes)
    outer, inner = s.oval(4, (10.1, 10.1)), s.oval(4, (5.2, 5.2))
    keyhole = np.concatenate([outer[0], outer[0][:1], inner[0][:1], inner[0][::-1]])  # out, over the bridge, round and back
    two, _ = s.read({"liver": [outer, inner]})
    one, _ = s.read({"liver": [(keyhole, s.datasets[4])]})
    (big, edge), (small, rim) = s.within((10.1, 10.1)), s.within((5.2, 5.2))
    ring, either = (big & ~small)[..., 4], (edge | rim)[..., 4]
    for found in (two, one):
        assert np.array_equal(found[..., 4][~either] == 1, ring[~either])
    assert 0 < ring.sum() < big[..., 4].sum()


def test_an_island_in_a_hole_and_a_copy_of_a_contour(scene: Any) -> None:
    s = scene()
    rings = [s.oval(4, (radius, radius)) for radius in (10.1, 6.6, 3.2)]
    found, _ = s.read({"liver": [*rings, rings[0]]})
    count = [int(s.within((r, r))[0][..., 4].sum()) for r in (10.1, 6.6, 3.2)]
    assert found.sum() == count[0] - count[1] + count[2]


def test_copies_of_a_contour_that_are_written_in_another_way_count_once(scene: Any) -> None:
    s = scene()
    points, image = s.oval(4, (9.3, 9.3))
    once, _ = s.read({"liver": [(points, image)]})
    closed = np.concatenate([points, points[:1]])
    for copy in (closed, points[::-1], np.roll(points, 100, axis=0), closed[::-1]):
        twice, _ = s.read({"liver": [(points, image), (copy, image)]})
        assert np.array_equal(twice, once)
    moved, _ = s.read({"liver": [(points, image), (points + np.array([1.25, 0, 0]), image)]})
    assert 0 < moved.sum() < once.sum()  # no copy: what both enclose is a hole


def test_rois_of_another_frame_of_reference_are_refused(scene: Any) -> None:
    s = scene(data={"label_names": (("MR", "background"),)})
    regions = {"liver": [s.oval(4, (9.3, 9.3))], "lesion": [s.oval(7, (5.0, 5.0))], "MR": [s.oval(4, (9.3, 9.3))]}

    def registered(*frames: str) -> Any:
        def change(rt: Any) -> None:
            for region, frame in zip(rt.StructureSetROISequence, frames, strict=True):
                region.ReferencedFrameOfReferenceUID = frame

        return change

    own = str(s.datasets[0].FrameOfReferenceUID)
    found, _ = s.read(regions, change=registered(own, own, "1.9"))  # that of the MR is not used
    assert np.unique(found).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"LBL-WRONG-SERIES.*1 of 2 ROIs.*another frame"):
        s.read(regions, change=registered(own, "1.9", own))
    with pytest.raises(DataError, match=r"LBL-WRONG-SERIES.*another frame"):
        s.read(regions, change=registered("1.9", "1.9", "1.9"))

    def made_up(rt: Any) -> None:
        registered("1.9", "1.9", "1.9")(rt)
        rt.FrameOfReferenceUID = rt.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.9"

    found, warnings = s.read(regions, change=made_up)  # one name for all that is not the series', and all the right images
    assert np.unique(found).tolist() == [0, 1, 2]
    assert [warning.code for warning in warnings] == ["LBL-FRAME"]


def test_contours_on_every_second_slice_are_refused_and_a_gap_is_told(scene: Any) -> None:
    s = scene()

    def at(*slices: int) -> list[Any]:
        return [s.oval(k, (5.0, 5.0)) for k in slices]

    for slices in ((1, 3, 5), (0, 3, 6, 9)):
        with pytest.raises(DataError, match=rf"LBL-GAPS.*1 ROI.*one slice in {slices[1] - slices[0]} only"):
            s.read({"liver": at(*slices), "lesion": []})
    found, warnings = s.read({"liver": at(1, 2, 4, 6)})
    assert np.flatnonzero(found.any(axis=(0, 1))).tolist() == [1, 2, 4, 6]
    assert [w.code for w in warnings] == ["LBL-GAPS"]
    assert s.read({"liver": at(1, 2, 6, 7)})[1] == []  # two of them


def test_a_mask_that_was_traced_through_the_centres_of_its_pixels_comes_back(scene: Any) -> None:
    s = scene(oblique())
    origin, (row, column) = np.array(s.datasets[3].ImagePositionPatient, dtype=float), map(np.asarray, oblique())
    corners = np.array([[4, 5], [9, 5], [9, 13], [4, 13]]) * [PIXEL[1], PIXEL[0]]
    points = origin + corners[:, :1] * row + corners[:, 1:] * column
    found, _ = s.read({"liver": [(points, s.datasets[3])]})
    expected = np.zeros(s.image.shape, dtype=bool)
    expected[4:10, 5:14, 3] = True
    assert np.array_equal(found == 1, expected)


def test_a_tilted_series_is_drawn_on_as_it_was_acquired(scene: Any) -> None:
    s = scene(tilt=15.0, count=12, data={"gantry_tilt": "resample"})
    middle = s.centre(6)
    upright = [(ellipse([*middle[:2], s.centre(k)[2]], AXIAL, (7.0, 7.0)), s.datasets[k]) for k in range(12)]
    found, _ = s.read({"liver": upright})
    assert s.image.acquired_geometry is not None
    assert found.shape == s.image.shape != s.image.acquired_geometry.shape
    off = s.offsets()[..., :2] + s.centre(0)[:2] - middle[:2]
    radius = np.hypot(off[..., 0], off[..., 1])
    assert (found[radius < 7.0 - max(PIXEL)] == 1).all()
    assert (found[radius > 7.0 + max(PIXEL)] == 0).all()


def test_names_are_classes_and_rois_of_one_class_are_joined(scene: Any) -> None:
    s = scene(data={"label_names": (("GTV1", "Lesion"), ("GTV2", "lesion"), ("*", "background"))})
    left, right = s.oval(3, (2.6, 2.6), (-6.0, 0.0, 0.0)), s.oval(3, (2.6, 2.6), (6.0, 0.0, 0.0))
    found, _ = s.read({"gtv1 ": [left], "GTV2": [right], "LIVER": [s.oval(7, (5.0, 5.0))], "CANARY": [s.oval(5, (9.0, 9.0))]})
    assert {k: sorted(np.unique(found[..., k]).tolist()) for k in (3, 5, 7)} == {3: [0, 2], 5: [0], 7: [0, 1]}
    assert found[:10, :, 3].any()
    assert found[10:, :, 3].any()


def test_names_that_are_no_class_are_refused_without_repeating_them(scene: Any) -> None:
    s = scene()
    with pytest.raises(DataError, match=r"LBL-CLASSNAME.*1 of 2 ROIs.*liver, lesion.*label-names") as caught:
        s.read({"liver": [s.oval(3, (5.0, 5.0))], "CANARY": [s.oval(3, (5.0, 5.0))], "EMPTY": []})
    assert "CANARY" not in str(caught.value)


def test_rois_of_different_classes_must_not_overlap(scene: Any) -> None:
    s = scene()
    with pytest.raises(DataError, match="LBL-OVERLAP"):
        s.read({"liver": [s.oval(3, (5.0, 5.0))], "lesion": [s.oval(3, (3.0, 3.0))]})


def test_contours_that_lie_on_no_slice_are_refused(scene: Any) -> None:
    s = scene()
    points, image = s.oval(3, (6.0, 6.0))
    tilted = points + np.outer(points[:, 0] - points[:, 0].mean(), [0.0, 0.0, 0.1])  # rises by 1.2 mm
    with pytest.raises(DataError, match=r"LBL-PLANE.*1 of 1.*tilted"):
        s.read({"liver": [(tilted, image)]})
    finer = [s.oval(3, (6.0, 6.0), (0.0, 0.0, dz)) for dz in (-1.0, 0.0, 1.0)]  # drawn on slices of 1 mm
    with pytest.raises(DataError, match=r"LBL-PLANE.*other slices"):
        s.read({"liver": finer})
    near, _ = s.read({"liver": [s.oval(3, (6.0, 6.0), (0.0, 0.0, 0.4 * DISTANCE))]})
    assert np.flatnonzero(near.any(axis=(0, 1))).tolist() == [3]


def test_what_lies_outside_the_volume_is_told(scene: Any) -> None:
    s = scene()
    inside = [s.oval(k, (9.0, 9.0)) for k in range(10)]
    above = s.oval(9, (9.0, 9.0), (0.0, 0.0, DISTANCE))
    with pytest.raises(DataError, match=r"LBL-OUTSIDE.*9\.1 %"):
        s.read({"liver": [*inside, above]})
    with pytest.raises(DataError, match="LBL-OUTSIDE"):
        s.read({"liver": [s.oval(4, (9.0, 9.0), (10.0, 0.0, 0.0))]})
    speck = s.oval(9, (1.0, 1.0), (0.0, 0.0, DISTANCE))
    found, warnings = s.read({"liver": [*inside, speck]})
    assert [warning.code for warning in warnings] == ["LBL-OUTSIDE"]
    assert found.any()


def test_points_and_open_lines_are_left_out_with_a_warning(scene: Any) -> None:
    s = scene()
    line = s.oval(3, (6.0, 6.0))
    found, warnings = s.read({"liver": [line]}, kind="OPEN_PLANAR")
    assert not found.any()
    assert [(w.code, w.what.split()[0]) for w in warnings] == [("LBL-OPEN", "1")]
    dots = (line[0][[0, 1, 0]], line[1])  # there and back
    found, warnings = s.read({"liver": [line, dots]})
    assert found.any()
    assert [w.code for w in warnings] == ["LBL-OPEN"]


def test_damaged_contours_are_refused(scene: Any) -> None:
    def cut(rt: Any) -> None:
        contour = rt.ROIContourSequence[0].ContourSequence[0]
        contour.ContourData = contour.ContourData[:-1]

    def nameless(rt: Any) -> None:
        rt.StructureSetROISequence = []

    s = scene()
    for change in (cut, nameless):
        with pytest.raises(DataError, match="LBL-READ"):
            s.read({"liver": [s.oval(3, (6.0, 6.0))]}, change=change)


def test_large_outlines_are_drawn_as_small_ones() -> None:
    rng = np.random.default_rng(5)
    turn = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    for rough in (0.0, 0.3, 3.0):  # a circle, a coast, and one that runs across itself
        radius = 40 + np.cumsum(rng.normal(0, rough, 500))
        corners = np.stack([60 + radius * np.cos(turn), 70 + 1.4 * radius * np.sin(turn)], axis=1)
        expected = np.zeros((110, 150), dtype=np.uint8)
        expected[polygon(corners[:, 0], corners[:, 1], expected.shape)] = 1
        assert np.array_equal(_fill_polygon(corners, (110, 150)), expected)


@pytest.mark.realdata
def test_contours_of_a_planning_system(real_data: Path, make_study: Any, make_site: Any) -> None:
    root = real_data / "dicom" / "rtstruct-mock"
    source = Source("dicom", (root / "ct_1.dcm", root / "ct_2.dcm"))
    site = make_site(root, min_slices=2, label_names=(("ROI-1", "liver"),))
    image, study = read_series(source.paths, site.data), make_study(task__modality="CT", task__classes=CLASSES)
    found, warnings = read_rtstruct(root / "rt.dcm", image, source, study, site)
    assert "LBL-FRAME" in [warning.code for warning in warnings]  # made up by the program that wrote it
    # on the slice at 60 mm a square of 24 mm with a hole: a square of 15 mm that lacks half a square millimetre at a corner
    assert np.flatnonzero(found.any(axis=(0, 1))).tolist() == [0]
    pixel = 0.488281**2
    assert found.sum() * pixel == pytest.approx(24 * 24 - (15 * 15 - 0.5), rel=0.03)
    place = np.linalg.inv(LPS_TO_RAS @ image.affine) @ [-49.0, -49.0, 60.0, 1.0]
    assert found[tuple(np.round(place[:3]).astype(int))] == 1
    for name in ("invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"):
        with pytest.raises(DataError, match=r"LBL-PARTIAL-REF.*holds 2"):
            read_rtstruct(root / name, image, source, study, site)
