"""Resampling of tilted and unevenly spaced slices, and of the labels drawn on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medfl.data.dicom.resample_stack import AIR_HU, resample_labels
from medfl.data.dicom.series import read_series
from medfl.data.volume import SliceGeometry
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.dicom.phantom import stack, write_slices
from tests.data.dicom.writing import put, uneven

BOTH = SiteData(gantry_tilt="resample", nonuniform="resample")


def test_the_grid_of_a_tilted_stack_contains_all_slices(tmp_path: Path) -> None:
    # each slice 2.5 mm further down the columns of 1.5 mm
    volume = read_series(write_slices(tmp_path, stack(9, tilt=45)), BOTH)
    assert volume.shape == (20, 24 + 14, 9)  # 8 x 2.5 / 1.5 = 13.3 rows more
    np.testing.assert_allclose(volume.spacing, (1.25, 1.5, 2.5))
    assert (volume.array[0, :, :24, 0] != AIR_HU).all()  # the first slice is at the corner of the grid
    assert (volume.array[0, :, 24:, 0] == AIR_HU).all()


def test_uneven_slices_get_the_lower_median_spacing_and_no_plane_beyond_the_last(tmp_path: Path) -> None:
    volume = read_series(write_slices(tmp_path, uneven()), BOTH)  # 2.5 mm five times, 5 mm five times
    assert volume.spacing[2] == pytest.approx(2.5)
    assert volume.shape == (20, 24, 16)
    assert volume.acquired_geometry is not None
    assert volume.acquired_geometry.shape == (20, 24, 11)
    even = read_series(write_slices(tmp_path / "even", stack(16)))
    np.testing.assert_allclose(volume.array, even.array, atol=0.11)
    np.testing.assert_allclose(volume.affine, even.affine, atol=1e-6)


def test_planes_at_the_height_of_a_slice_are_that_slice(tmp_path: Path) -> None:
    volume = read_series(write_slices(tmp_path, uneven()), BOTH)
    plain = read_series(write_slices(tmp_path / "even", stack(8)))
    np.testing.assert_array_equal(volume.array[..., :6], plain.array[..., :6])


def test_outside_of_a_tilted_mr_is_its_lowest_value(tmp_path: Path) -> None:
    volume = read_series(write_slices(tmp_path, stack(9, tilt=15), put(Modality="MR")), BOTH)
    assert volume.array[0, 0, -1, 0] == volume.array.min() > AIR_HU


@pytest.mark.parametrize("positions", [stack(9, tilt=20), uneven(tilt=-15), uneven()], ids=["tilted", "both", "uneven"])
def test_labels_follow_the_image(tmp_path: Path, positions: list[np.ndarray]) -> None:
    """Check that a label drawn where the acquired image is bright is where the resampled image is bright."""
    volume = read_series(write_slices(tmp_path, positions), BOTH)
    acquired = volume.acquired_geometry
    assert acquired is not None
    columns, rows, _ = acquired.shape
    i, j = np.meshgrid(np.arange(columns) * 1.25, np.arange(rows) * 1.5, indexing="ij")
    labels = np.zeros(acquired.shape, dtype=np.uint8)
    values = np.zeros(acquired.shape)
    for k, position in enumerate(acquired.positions):
        world = position + np.stack([i, j, np.zeros_like(i)], axis=-1)
        values[..., k] = 200 + world @ [3, 5, 7]
    median = np.median(values)
    labels[values > median] = 2
    resampled = resample_labels(labels, acquired, volume)
    assert resampled.dtype == np.uint8
    assert resampled.shape == volume.shape
    scanned = volume.array[0] != AIR_HU
    assert not resampled[~scanned].any()
    unambiguous = scanned & (
        np.abs(volume.array[0] - median) > 0.51 * (3 * 1.25 + 5 * 1.5 + 5 * (7 + 5 * np.tan(np.radians(20))))
    )
    np.testing.assert_array_equal(resampled[unambiguous] == 2, volume.array[0][unambiguous] > median)
    assert unambiguous.mean() > 0.3


def test_a_label_goes_to_the_nearest_pixel_of_the_nearest_slice(tmp_path: Path) -> None:
    tilted = read_series(write_slices(tmp_path / "tilted", stack(9, tilt=45)), BOTH)
    assert tilted.acquired_geometry is not None
    labels = np.zeros(tilted.acquired_geometry.shape, dtype=np.uint8)
    labels[3, 10, 2] = 1  # this slice begins at row 2 x 2.5 / 1.5 = 3.3 of its plane
    assert np.argwhere(resample_labels(labels, tilted.acquired_geometry, tilted)).tolist() == [[3, 13, 2]]
    heights = [0, 2, 4, 6, 8, 10, 12, 15, 18, 21]  # planes every 2 mm: that at 14 mm is nearer to the slice at 15 than at 12
    wide = read_series(write_slices(tmp_path / "wide", [np.array([-12.0, 8.0, 30.0 + z]) for z in heights]), BOTH)
    assert wide.acquired_geometry is not None
    labels = np.zeros(wide.acquired_geometry.shape, dtype=np.uint8)
    labels[3, 10, 7] = 1
    assert np.argwhere(resample_labels(labels, wide.acquired_geometry, wide)).tolist() == [[3, 10, 7], [3, 10, 8]]


def test_labels_of_other_slices_are_refused(tmp_path: Path) -> None:
    volume = read_series(write_slices(tmp_path, stack(9, tilt=15)), BOTH)
    acquired = volume.acquired_geometry
    assert acquired is not None
    labels = np.zeros(acquired.shape, dtype=np.uint8)
    assert resample_labels(labels, acquired, volume).shape == volume.shape
    resampled = SliceGeometry(
        acquired.positions + np.array([0, 0, 5.0]), acquired.orientation, acquired.pixel_spacing, acquired.shape
    )
    for mismatched, geometry, image in (
        (labels[..., :-1], acquired, volume),
        (labels, resampled, volume),
        (labels, acquired, replace(volume, array=volume.array[..., :-1])),
    ):
        with pytest.raises(DataError, match="LBL-GEOMETRY"):
            resample_labels(mismatched, geometry, image)
