"""Values of masks: whole numbers whatever their type and scale, none that wraps, and none of two meanings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medfl.data.classes import values_to_classes
from medfl.data.mask_values import count_values, map_values
from medfl.data.nifti import read_nifti_mask
from medfl.data.predictions import write_nifti
from medfl.data.source_grid import SourceGrid
from medfl.errors import ConfigError, DataError
from medfl.site import SiteData

CLASSES = np.arange(24).reshape(4, 3, 2) % 3  # 0, 1 and 2 in turn


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of a mask as nibabel stores it in another type, or with a given scale."""

    def write(values: NDArray[Any], stored: Any, scale: tuple[float, float] | None = None) -> Path:
        image = nibabel.Nifti1Image(values, np.eye(4))
        image.set_data_dtype(stored)
        nibabel.save(image, tmp_path / "mask.nii")
        if scale:  # nibabel would divide what it writes
            raw = bytearray((tmp_path / "mask.nii").read_bytes())
            raw[112:120] = np.array(scale, dtype="<f4").tobytes()
            (tmp_path / "mask.nii").write_bytes(raw)
        return tmp_path / "mask.nii"

    return write


@pytest.mark.parametrize("stored", [np.int16, np.uint8, np.int8, np.uint16, np.int32])
@pytest.mark.parametrize("highest", [1, 2, 9])
def test_a_mask_that_nibabel_scales_is_read_as_what_was_saved(save: Any, stored: Any, highest: int) -> None:
    values = np.arange(24).reshape(4, 3, 2) % (highest + 1)
    path = save(values.astype(np.float64), stored)
    assert nibabel.load(path).dataobj.slope != 1
    found, _ = read_nifti_mask(path)
    np.testing.assert_array_equal(found, values)
    assert found.dtype.kind == "i"


@pytest.mark.parametrize(
    ("scale", "stored"),
    [((0.5, 0.0), 2 * CLASSES), ((-1.0, 2.0), 2 - CLASSES), ((1.0, -1024.0), CLASSES + 1024), ((1 / 255, 0.0), 255 * CLASSES)],
)
def test_a_scale_that_makes_whole_numbers_is_applied(save: Any, scale: Any, stored: Any) -> None:
    np.testing.assert_array_equal(read_nifti_mask(save(stored.astype(np.int16), np.int16, scale))[0], CLASSES)


@pytest.mark.parametrize(
    ("scale", "listed"), [((0.9, 0.0), "0, 0.9, 1.8"), ((0.5, 0.25), "0.25, 0.75, 1.25"), ((0.1, 0.0), "0.2")]
)
def test_a_scale_that_makes_no_numbers_of_classes_is_named(save: Any, scale: Any, listed: str) -> None:
    with pytest.raises(DataError, match=rf"LBL-VALUES.*{listed}.*scales what it stores by {scale[0]}"):
        read_nifti_mask(save(CLASSES.astype(np.int16), np.int16, scale))


def test_fractions_stored_as_whole_numbers_are_no_mask(save: Any) -> None:
    with pytest.raises(DataError, match=r"LBL-VALUES.*0\.4[89]"):
        read_nifti_mask(save(np.where(CLASSES == 1, 0.49, CLASSES.astype(float)), np.int16))


@pytest.mark.parametrize("axes", [(4, 3, 2, 3), (4, 3, 2, 1, 3), (3, 4, 3, 2)])
def test_a_mask_with_a_channel_for_each_class_is_named(save: Any, axes: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=rf"LBL-CHANNELS.*{axes[-1]} images.*a channel for each class.*numbers of the classes"):
        read_nifti_mask(save(np.zeros(axes, dtype=np.uint8), np.uint8))
    assert read_nifti_mask(save(np.zeros((4, 3, 2, 1), dtype=np.uint8), np.uint8))[0].shape == (4, 3, 2)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-0.0, 1.0, 2.0]], dtype=np.float32),
        np.array([[0.0, 0.9999999, 2.0000002]], dtype=np.float64),
        np.array([[0, 1, 2]], dtype=">i2"),
        np.array([[0, 1, 2]], dtype=np.uint64),
        np.array([[-0.0, 1.0, 2.0]], dtype=np.float16),
    ],
)
def test_whole_numbers_of_any_type_are_classes(values: NDArray[Any]) -> None:
    assert count_values(values, "") == {0: 1, 1: 1, 2: 1}
    mask = map_values(values, {0: 0, 1: 1, 2: 2})
    assert mask.tolist() == [[0, 1, 2]]
    assert mask.dtype == np.uint8
    assert map_values(values, {0: 0, 1: 2, 2: 255}).tolist() == [[0, 2, 255]]


def test_float32_may_round_large_numbers() -> None:
    assert count_values(np.array([[200.0]], dtype=np.float32) / np.float32(255) * np.float32(255), "") == {200: 1}


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.0, np.nan]]),
        np.array([[0.0, np.inf]]),
        np.array([[0.0, -np.inf]], dtype=np.float32),
        np.array([[0.0, 0.99]]),
        np.array([[0.0, 2.0**53]]),
        np.array([[0.0, 1e20]], dtype=np.float32),
        np.array([[0.0, -1e30]]),
        np.array([[0, 2**64 - 1]], dtype=np.uint64),
        np.array([[0, -(2**63)]], dtype=np.int64),
    ],
)
def test_what_is_no_number_of_a_class_is_refused_before_it_wraps(values: NDArray[Any]) -> None:
    with pytest.raises(DataError, match="LBL-VALUES"):
        count_values(values, "0=background")


@pytest.mark.parametrize("value", [-1, 2, 256, 257, 65536, 2**31 - 1])
def test_values_beyond_the_classes_are_refused_and_do_not_wrap(
    make_study: Any, make_site: Any, tmp_path: Path, value: int
) -> None:
    counts = count_values(np.array([[0, 1, value]], dtype=np.int64), "")
    with pytest.raises(DataError, match=rf"LBL-VALUES.*{value if value < 1e6 else '2.14748e'}"):
        values_to_classes(counts, (), make_study(), make_site(tmp_path))
    named = [(0, "background"), (1, "organ"), (value, "organ")]
    assert values_to_classes(counts, named, make_study(), make_site(tmp_path)) == {0: 0, 1: 1, value: 1}


def names(count: int) -> str:
    return ",".join(f"r{n}" for n in range(count))


def test_a_study_has_as_many_classes_as_a_mask_tells_apart(make_study: Any, make_site: Any, tmp_path: Path) -> None:
    study = make_study(task__classes=names(256))
    mapped = values_to_classes({0: 9, 255: 1}, (), study, make_site(tmp_path))
    assert map_values(np.array([[0, 255]], dtype=np.int16), mapped).tolist() == [[0, 255]]
    for count in (257, 311, 1000):
        with pytest.raises(ConfigError, match=rf"{count} classes.*at most 256"):
            make_study(task__classes=names(count))
    assert len(make_study(task__kind="classification", task__classes=names(1000)).task.classes) == 1000


def test_predictions_that_a_file_of_uint8_cannot_hold_are_refused(tmp_path: Path) -> None:
    image = SourceGrid((2, 2, 2), np.eye(4))
    for value in (256, -1):
        mask: NDArray[Any] = np.full((2, 2, 2), value, dtype=np.int16)
        with pytest.raises(DataError, match=r"PRED-GRID.*0 to 255"):
            write_nifti(mask, image, tmp_path / "p.nii")
    with pytest.raises(DataError, match="PRED-GRID"):
        write_nifti(np.full((2, 2, 2), 0.5), image, tmp_path / "p.nii")
    write_nifti(np.full((2, 2, 2), 255, dtype=np.int16), image, tmp_path / "p.nii")
    assert (read_nifti_mask(tmp_path / "p.nii", settings=SiteData(allow_predictions=True))[0] == 255).all()
