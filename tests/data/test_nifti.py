from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medfl.data.nifti import read_nifti, read_nifti_mask
from medfl.data.volume import corner_distance
from medfl.errors import DataError
from medfl.site import SiteData

BOX = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def forms(path: Path, *, sform: Any = None, qform: Any = None) -> Path:
    image = nibabel.Nifti1Image(BOX, np.eye(4))
    image.set_sform(sform, 0 if sform is None else 1)
    image.set_qform(qform, 0 if qform is None else 1)
    nibabel.save(image, path)
    return path


def test_reads_voxels_and_place(tmp_path: Path, save_nifti: Any) -> None:
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    volume = read_nifti(save_nifti(tmp_path / "a.nii.gz", BOX, affine))
    np.testing.assert_array_equal(volume.array, BOX[np.newaxis])
    np.testing.assert_array_equal(volume.affine, affine)
    assert volume.spacing == (2.0, 3.0, 4.0)


def test_one_form_is_enough(tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[0, 3] = 10
    np.testing.assert_array_equal(read_nifti(forms(tmp_path / "q.nii", qform=moved)).affine, moved)
    np.testing.assert_array_equal(read_nifti(forms(tmp_path / "s.nii", sform=moved)).affine, moved)


def test_forms_that_differ_are_refused(tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[0, 3] = 10
    path = forms(tmp_path / "a.nii", sform=np.eye(4), qform=moved)
    with pytest.raises(DataError, match=r"NII-FORMS.*10\.0 mm.*nifti-form"):
        read_nifti(path)
    np.testing.assert_array_equal(read_nifti(path, settings=SiteData(nifti_form="sform")).affine, np.eye(4))
    np.testing.assert_array_equal(read_nifti(path, settings=SiteData(nifti_form="qform")).affine, moved)
    moved[0, 3] = 0.09  # rounding of the quaternion
    assert read_nifti(forms(tmp_path / "b.nii", sform=np.eye(4), qform=moved)).affine[0, 3] == 0


def test_the_chosen_form_is_no_condition(tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read_nifti(forms(tmp_path / "a.nii", sform=np.eye(4)), settings=SiteData(nifti_form="qform")).affine, np.eye(4)
    )


def test_no_form_is_refused_for_a_volume_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NII-NOFORM"):
        read_nifti(forms(tmp_path / "a.nii"))
    image = nibabel.Nifti1Image(BOX[..., :1], np.eye(4))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "flat.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "flat.nii", dimension=2).array[0], BOX[..., 0])  # as stored


def test_cut_files_are_refused(tmp_path: Path, save_nifti: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
    for name in ("a.nii.gz", "a.nii"):
        path = save_nifti(tmp_path / name, noise)
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(DataError, match="NII-TRUNCATED") as caught:
            read_nifti(path)
        assert str(tmp_path) not in str(caught.value)


def test_what_is_no_nifti_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"hello")
    with pytest.raises(DataError, match="NII-FORMAT"):
        read_nifti(tmp_path / "a.nii")
    with pytest.raises(DataError, match="IMG-MISSING"):
        read_nifti(tmp_path / "b.nii")


@pytest.mark.parametrize(("unit", "fine"), [("meter", False), ("micron", False), ("mm", True), ("unknown", True)])
def test_units_other_than_millimetres_are_refused(tmp_path: Path, unit: str, fine: bool) -> None:
    image = nibabel.Nifti1Image(BOX, np.eye(4))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    if fine:
        np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").array[0], BOX)
    else:
        with pytest.raises(DataError, match="NII-UNITS"):
            read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize(("degrees", "fine"), [(0.0, True), (0.4, True), (2.0, False), (18.5, False)])
def test_axes_that_are_not_perpendicular_are_refused(tmp_path: Path, save_nifti: Any, degrees: float, fine: bool) -> None:
    sheared = np.eye(4)
    sheared[1, 2] = np.tan(np.radians(degrees))
    long = np.zeros((3, 4, 50), dtype=np.int16)
    image = nibabel.Nifti1Image(long, sheared)
    image.set_sform(sheared, 1)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    if fine:
        assert read_nifti(tmp_path / "a.nii").affine[1, 2] == pytest.approx(sheared[1, 2])
    else:
        with pytest.raises(DataError, match=r"NII-SHEAR.*degrees"):
            read_nifti(tmp_path / "a.nii")


def test_a_matrix_that_flattens_the_volume_is_refused(tmp_path: Path) -> None:
    flat = np.diag([1.0, 0.0, 1.0, 1.0])
    image = nibabel.Nifti1Image(BOX, np.eye(4))
    image.header.set_sform(flat, 1)
    image.header.set_qform(None, 0)
    with (tmp_path / "a.nii").open("wb") as file:
        image.header.set_data_offset(352)
        image.header.write_to(file)
        file.write(bytes(4) + BOX.tobytes(order="F"))
    with pytest.raises(DataError, match="NII-HEADER"):
        read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, np.float64, np.uint16, np.int32])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_every_way_of_storing_the_numbers(tmp_path: Path, kind: Any, order: str, ending: str) -> None:
    header = (nibabel.Nifti1Header if kind is not np.int32 else nibabel.Nifti2Header)(endianness=order)
    header.set_data_dtype(np.dtype(kind).newbyteorder(order))
    made = nibabel.Nifti1Image if kind is not np.int32 else nibabel.Nifti2Image
    nibabel.save(made(BOX.astype(kind), np.eye(4), header), tmp_path / f"a.{ending}")
    volume = read_nifti(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(volume.array[0], BOX)
    values, _ = read_nifti_mask(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(values, BOX)
    assert values.dtype.itemsize <= max(4, np.dtype(kind).itemsize)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_an_infinite_scale_is_refused_and_none_is_none(tmp_path: Path, kind: Any, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    offset, number = (112, "<f4") if kind is nibabel.Nifti1Image else (176, "<f8")

    def scaled(slope: float, inter: float) -> Path:
        data = bytearray(kind(BOX, np.eye(4)).to_bytes())
        data[offset : offset + 2 * np.dtype(number).itemsize] = np.array([slope, inter], dtype=number).tobytes()
        path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
        return path

    for slope in (0.0, np.nan):
        np.testing.assert_array_equal(read_nifti(scaled(slope, 7.0)).array[0], BOX)
    for slope, inter in ((np.inf, 0.0), (-np.inf, 0.0), (2.0, np.nan), (1.0, np.inf)):
        for read in (read_nifti, read_nifti_mask):
            with pytest.raises(DataError, match=r"NII-(HEADER|FORMAT)"):
                read(scaled(slope, inter))


def test_the_scale_of_the_header_counts(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(BOX, np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    nibabel.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[352:] = BOX.tobytes(order="F")  # nibabel divides what it writes
    raw[112:120] = np.array([0.5, -1024], dtype="<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").array[0], BOX * 0.5 - 1024)
    with pytest.raises(DataError, match=r"LBL-VALUES.*-1023\.5"):  # a half is no class
        read_nifti_mask(tmp_path / "a.nii")
    raw[112:120] = np.array([2, -1024], dtype="<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_array_equal(read_nifti_mask(tmp_path / "a.nii")[0], BOX * 2 - 1024)


@pytest.mark.parametrize("kind", [np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), np.dtype(np.complex64)])
def test_colours_and_complex_numbers_are_refused(tmp_path: Path, kind: Any) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), dtype=kind), np.eye(4)), tmp_path / "a.nii")
    for read in (read_nifti, read_nifti_mask):
        with pytest.raises(DataError, match="NII-DTYPE"):
            read(tmp_path / "a.nii")


def test_other_kinds_of_images_are_refused_with_a_way_out(tmp_path: Path) -> None:
    nibabel.save(nibabel.MGHImage(BOX.astype(np.float32), np.eye(4)), tmp_path / "a.mgz")
    with pytest.raises(DataError, match=r"IMG-FORMAT.*mri_convert"):
        read_nifti(tmp_path / "a.mgz")


def test_a_large_file_takes_little_more_memory_than_its_voxels(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((128, 128, 64), dtype=np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(image, tmp_path / "a.nii")
    tracemalloc.start()
    try:
        read_nifti(tmp_path / "a.nii")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * 4 * 128 * 128 * 64  # nibabel scales in double precision: 3 times that


def test_the_fourth_axis_is_channels_only_when_the_study_says_so(tmp_path: Path, save_nifti: Any) -> None:
    two = np.stack([BOX, BOX + 100], axis=-1)
    path = save_nifti(tmp_path / "a.nii", two)
    with pytest.raises(DataError, match="NII-4D"):
        read_nifti(path)
    volume = read_nifti(path, channels=2)
    np.testing.assert_array_equal(volume.array[1], BOX + 100)
    assert read_nifti(save_nifti(tmp_path / "b.nii", BOX[..., np.newaxis])).array.shape == (1, 2, 3, 4)


def test_corner_distance_is_in_millimetres() -> None:
    moved = np.eye(4)
    moved[:3, 3] = 3, 4, 0
    assert corner_distance(np.eye(4), moved, (5, 5, 5)) == pytest.approx(5.0)
    longer = np.diag([1, 1, 1.1, 1.0])
    assert corner_distance(np.eye(4), longer, (5, 5, 11)) == pytest.approx(1.0)


EDGE = {  # what each real file must give: its shape, or the code of the refusal
    "S0_10slices.nii.gz": "NII-SHEAR",  # its third axis stands oblique, the qform hides it
    "anatomical.nii": (33, 41, 25),  # big-endian
    "aniso_vox.nii.gz": (58, 58, 24),  # oblique
    "example4d.nii.gz": "NII-4D",
    "example_nifti2.nii.gz": "NII-4D",
    "functional.nii": "NII-4D",
    "small_64D.nii": "NII-4D",
    "standard.nii.gz": (4, 5, 7),  # sform alone
    "test.mgz": "IMG-FORMAT",
}


@pytest.mark.realdata
def test_edge_cases_of_real_files(real_data: Path) -> None:
    edge = real_data / "nifti-edge"
    assert {path.name for path in edge.iterdir()} == set(EDGE)
    for name, expected in EDGE.items():
        if isinstance(expected, str):
            with pytest.raises(DataError) as caught:
                read_nifti(edge / name)
            assert (name, caught.value.code) == (name, expected)
        else:
            volume, image = read_nifti(edge / name), nibabel.load(edge / name)
            assert volume.shape == expected
            np.testing.assert_allclose(volume.array[0], image.get_fdata(), rtol=1e-6)
            np.testing.assert_allclose(volume.affine, image.affine)
    for name, channels in {
        "example4d.nii.gz": 2,
        "example_nifti2.nii.gz": 2,
        "functional.nii": 20,
        "small_64D.nii": 65,
    }.items():
        volume, image = read_nifti(edge / name, channels=channels), nibabel.load(edge / name)
        np.testing.assert_allclose(volume.array, np.moveaxis(image.get_fdata(), -1, 0), rtol=1e-6)
        np.testing.assert_allclose(volume.affine, image.affine, atol=1e-4)
