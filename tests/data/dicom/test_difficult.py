"""Difficult series: each is read with the right values or refused with its code, whatever its geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medfl.data.dicom.headers import looks_like_dicom
from medfl.data.dicom.resample_stack import AIR_HU
from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS, Volume
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.dicom.difficult import SERIES, Difficult
from tests.data.dicom.phantom import PIXEL, error_of, stack, world_value, write_slices

TOLERANCE = 0.6  # HU: stored values are rounded, some to whole units, and positions to a thousandth of a millimetre


def dicom_files(folder: Path) -> list[Path]:
    """Return the files that look like DICOM, or all files when none does."""
    files = sorted(folder.iterdir())
    return [path for path in files if looks_like_dicom(path)] or files


def check_values(volume: Volume) -> None:
    resampled = volume.acquired_geometry is not None
    errors = error_of(volume.array[0], LPS_TO_RAS @ volume.affine, AIR_HU if resampled else None)
    assert errors.max() < TOLERANCE
    assert (volume.array[0] != AIR_HU).mean() > 0.5
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)


READ = {name: difficult for name, difficult in SERIES.items() if not difficult.code}
REFUSED = {name: difficult for name, difficult in SERIES.items() if difficult.code}


@pytest.mark.parametrize("difficult", READ.values(), ids=list(READ))
def test_a_difficult_series_is_read_correctly(tmp_path: Path, difficult: Difficult) -> None:
    difficult.make(tmp_path)
    volume = read_series(dicom_files(tmp_path), difficult.settings, select=difficult.select)
    assert sorted(warning.code for warning in volume.warnings) == sorted(difficult.warnings)
    assert (volume.acquired_geometry is not None) == bool({"DCM-RESAMPLED", "DCM-STRAIGHTENED"} & set(difficult.warnings))
    check_values(volume)


@pytest.mark.parametrize("difficult", REFUSED.values(), ids=list(REFUSED))
def test_a_series_that_cannot_be_read_correctly_is_refused(tmp_path: Path, difficult: Difficult) -> None:
    difficult.make(tmp_path)
    with pytest.raises(DataError) as caught:
        read_series(dicom_files(tmp_path), difficult.settings, select=difficult.select)
    assert caught.value.code == difficult.code, str(caught.value)
    assert difficult.says in str(caught.value)
    assert caught.value.fix
    assert "CANARY" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_the_table_is_as_long_as_the_docs_say() -> None:
    page = (Path(__file__).parents[3] / "docs" / "dicom.md").read_text(encoding="utf-8")
    assert f"{len(SERIES)} series" in page


def _random_axes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return axes[:, 0], axes[:, 1]


@pytest.mark.parametrize("seed", range(12))
def test_any_orientation_spacing_and_order_give_the_right_values(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = _random_axes(rng)
    positions = stack(9, axes, distance=rng.uniform(0.7, 6), origin=rng.uniform(-25, 25, 3))
    shape = (int(rng.integers(3, 12)), int(rng.integers(3, 12)))
    paths = write_slices(tmp_path, [positions[k] for k in rng.permutation(9)], axes=axes, shape=shape)
    volume = read_series([paths[k] for k in rng.permutation(9)])
    assert volume.shape == (shape[1], shape[0], 9)
    check_values(volume)


@pytest.mark.parametrize("seed", range(8))
def test_any_tilt_and_uneven_spacing_give_the_right_values(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = _random_axes(rng)
    all_positions = stack(30, axes, distance=rng.uniform(0.7, 2), tilt=rng.uniform(4, 25), origin=rng.uniform(-25, 25, 3))
    positions = [all_positions[k] for k in np.cumsum(rng.integers(1, 3, 14))]
    paths = write_slices(tmp_path, [positions[k] for k in rng.permutation(14)], axes=axes)
    volume = read_series(paths, SiteData(gantry_tilt="resample", nonuniform="resample"))
    check_values(volume)
    scanned = int((volume.array != AIR_HU).sum()) * np.prod(volume.spacing)
    length = float(np.linalg.norm((positions[-1] - positions[0]) @ np.cross(*axes)))
    assert scanned > 0.8 * 24 * 20 * PIXEL[0] * PIXEL[1] * length  # nothing that was scanned is lost


def test_the_phantom_is_steep_enough_to_reveal_half_a_pixel() -> None:
    half_pixel = world_value(np.array([0.5 * PIXEL[1], 0, 0])) - world_value(np.zeros(3))
    assert half_pixel > 3 * TOLERANCE
