"""Damaged and contradictory NIfTI files: the voxels that were written, or a refusal that names the reason."""

from __future__ import annotations

import bz2
import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medfl.data.nifti import read_nifti, read_nifti_extent, read_nifti_mask, read_nifti_shape, read_nifti_values
from medfl.errors import DataError
from medfl.site import SiteData

BOX = np.random.default_rng(0).integers(0, 200, (9, 7, 5)).astype(np.int16)
DIM, DATATYPE, VOX_OFFSET, MAGIC = 40, 70, 108, 344  # bytes of the header at which the fields begin


def content(array: Any = BOX, order: str = "<", kind: Any = nibabel.Nifti1Image) -> bytearray:
    """Return the bytes of a .nii file."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype.newbyteorder(order))
    image = kind(array, np.eye(4), header)
    image.set_sform(np.eye(4), 1)
    image.set_qform(np.eye(4), 1)
    return bytearray(image.to_bytes())


def patched(offset: int, form: str, *values: Any, array: Any = BOX) -> bytearray:
    data = content(array)
    struct.pack_into(form, data, offset, *values)
    return data


def flip(data: bytes, position: int) -> bytes:
    damaged = bytearray(data)
    damaged[position] ^= 1 << position % 8
    return bytes(damaged)


def code_of(path: Path, read: Any = read_nifti, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    assert str(path.parent) not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("read", [read_nifti, read_nifti_mask])
def test_one_flipped_bit_anywhere_in_the_stream_is_seen(tmp_path: Path, read: Any) -> None:
    good, path = gzip.compress(bytes(content()), mtime=0), tmp_path / "a.nii.gz"
    unharmed = 0
    for position in range(10, len(good) - 8):
        path.write_bytes(flip(good, position))
        try:
            intact = gzip.decompress(path.read_bytes()) == bytes(content())
        except (OSError, EOFError, zlib.error):
            intact = False
        unharmed += intact  # the same bytes may be said in two ways
        if not intact:
            assert code_of(path, read) in ("FILE-DAMAGED", "NII-TRUNCATED"), position
    assert unharmed < 5


@pytest.mark.parametrize("position", range(1, 9))
def test_one_flipped_bit_in_the_trailer_is_seen(tmp_path: Path, position: int) -> None:
    good = gzip.compress(bytes(content()))
    (tmp_path / "a.nii.gz").write_bytes(flip(good, len(good) - position))
    assert code_of(tmp_path / "a.nii.gz") == "FILE-DAMAGED"


def test_a_flipped_bit_in_stored_blocks_is_seen_before_what_it_breaks(tmp_path: Path) -> None:
    good, path = gzip.compress(bytes(content()), compresslevel=0), tmp_path / "a.nii.gz"
    start = good.index(struct.pack("<i", 348))
    for field, bit in ((DIM, 8), (DIM + 2, 64), (DATATYPE, 2), (VOX_OFFSET + 2, 1), (MAGIC, 1), (0, 1), (280, 1), (400, 1)):
        damaged = bytearray(good)
        damaged[start + field] ^= bit
        path.write_bytes(damaged)
        assert code_of(path) == "FILE-DAMAGED", field


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 100])
def test_a_file_that_ends_before_its_trailer_is_cut(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(content()))[:-cut])
    assert code_of(tmp_path / "a.nii.gz") == "NII-TRUNCATED"


def test_a_wrong_checksum_or_length_in_the_trailer_is_damage(tmp_path: Path) -> None:
    good = gzip.compress(bytes(content()))
    for trailer in (bytes(4) + good[-4:], good[-8:-4] + bytes(4)):
        (tmp_path / "a.nii.gz").write_bytes(good[:-8] + trailer)
        assert code_of(tmp_path / "a.nii.gz") == "FILE-DAMAGED"


def test_pictures_and_channels_are_checked_likewise(tmp_path: Path) -> None:
    cases: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("flat", BOX[..., :1], {"dimension": 2}),
        ("channels", np.stack([BOX, BOX], -1), {"channels": 2}),
    )
    for name, array, options in cases:
        path = tmp_path / f"{name}.nii.gz"
        good = gzip.compress(bytes(content(array)))
        path.write_bytes(good)
        assert read_nifti(path, **options).array.size == array.size
        path.write_bytes(good[:-8] + bytes(8))
        assert code_of(path, **options) == "FILE-DAMAGED"


def test_several_members_are_one_stream(tmp_path: Path) -> None:
    data, path = bytes(content()), tmp_path / "a.nii.gz"
    parts = [gzip.compress(part) for part in (data[:100], data[100:400], data[400:], b"")]
    path.write_bytes(b"".join(parts) + bytes(512))  # pigz and bgzip write these; tapes pad with zeros
    np.testing.assert_array_equal(read_nifti(path).array[0], BOX)
    path.write_bytes(b"".join([parts[0], parts[1][:-8] + bytes(8), *parts[2:]]))
    assert code_of(path) == "FILE-DAMAGED"
    path.write_bytes(b"".join(parts) + b"garbage")
    assert code_of(path) == "FILE-DAMAGED"
    path.write_bytes(b"".join(parts[:2]))
    assert code_of(path) == "NII-TRUNCATED"


def test_bzip2_is_held_to_its_checksum(tmp_path: Path) -> None:
    good, path = bz2.compress(bytes(content())), tmp_path / "a.nii.bz2"
    path.write_bytes(good)
    np.testing.assert_array_equal(read_nifti(path).array[0], BOX)
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 4
    path.write_bytes(damaged)
    assert code_of(path) == "FILE-DAMAGED"
    path.write_bytes(good[:-3])
    assert code_of(path) == "NII-TRUNCATED"


@pytest.mark.parametrize("read", [read_nifti, read_nifti_mask])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_bytes_say_what_is_compressed_and_not_the_name(tmp_path: Path, read: Any, order: str) -> None:
    plain = bytes(content(order=order))
    for name, data in (("a.nii.gz", plain), ("b.nii", gzip.compress(plain)), ("C.NII.GZ", gzip.compress(plain))):
        (tmp_path / name).write_bytes(data)
        read_values = read(tmp_path / name)
        values = read_values.array[0] if read is read_nifti else read_values[0]
        np.testing.assert_array_equal(values, BOX)
        assert read_nifti_extent(tmp_path / name)[0] == BOX.shape
    (tmp_path / "twice.nii.gz").write_bytes(gzip.compress(gzip.compress(plain)))
    assert code_of(tmp_path / "twice.nii.gz", read) == "NII-FORMAT"


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize(
    ("extra", "fine"),
    [
        (b"", True),
        (bytes(512 - (352 + BOX.nbytes) % 512), True),
        (b"\0", False),
        (b"x", False),
        (bytes(BOX.nbytes // 5), False),
    ],
)
def test_a_file_holds_the_voxels_that_it_declares_and_no_more(tmp_path: Path, ending: str, extra: bytes, fine: bool) -> None:
    data, path = bytes(content()) + extra, tmp_path / f"a.{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    if fine:
        np.testing.assert_array_equal(read_nifti(path).array[0], BOX)
    else:
        assert code_of(path) == "NII-HEADER"


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (patched(DIM, "<h", 0), "NII-HEADER"),
        (patched(DIM, "<h", 8), "NII-HEADER"),
        (patched(DIM + 2, "<h", -9), "NII-HEADER"),
        (patched(DIM + 4, "<h", 0), "NII-HEADER"),
        (patched(DIM, ">4h", 3, 9, 7, 5), "NII-HEADER"),  # the order of bytes that sizeof_hdr does not have
        (patched(DIM + 2, "<h", 8), "NII-HEADER"),  # would shear all rows
        (patched(DIM + 2, "<h", 10), "NII-TRUNCATED"),
        (patched(DATATYPE, "<h", 2), "NII-HEADER"),  # uint8
        (patched(DATATYPE, "<h", 16), "NII-TRUNCATED"),  # float32
        (patched(DATATYPE, "<h", 99), "NII-FORMAT"),
        (patched(VOX_OFFSET, "<f", 348.0), "NII-HEADER"),
        (patched(VOX_OFFSET, "<f", 8.0), "NII-HEADER"),
        (patched(VOX_OFFSET, "<f", -352.0), "NII-HEADER"),
        (patched(VOX_OFFSET, "<f", 352.5), "NII-HEADER"),
        (patched(VOX_OFFSET, "<f", float("nan")), "NII-HEADER"),
        (patched(VOX_OFFSET, "<f", 1e9), "NII-HEADER"),
        (patched(VOX_OFFSET, "<f", 1e30), "NII-HEADER"),
        (patched(VOX_OFFSET, "<f", 2.0**26), "NII-TRUNCATED"),
        (patched(VOX_OFFSET, "<f", 368.0), "NII-TRUNCATED"),
        (patched(0, "<i", 349), "NII-FORMAT"),
        (patched(MAGIC, "4s", b"xyz"), "NII-FORMAT"),
        (content()[:300], "NII-TRUNCATED"),
    ],
)
def test_headers_that_contradict_the_file_are_refused(tmp_path: Path, ending: str, data: bytearray, code: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(gzip.compress(bytes(data)) if ending.endswith("gz") else data)
    for read in (read_nifti, read_nifti_mask):
        assert code_of(path, read) == code


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("magic", [b"n+1", b"ni1"])
def test_voxels_without_a_stated_beginning_lie_behind_the_header(tmp_path: Path, ending: str, magic: bytes) -> None:
    def write(data: bytes) -> Path:
        path = tmp_path / f"a.{ending}"
        path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
        return path

    data = patched(VOX_OFFSET, "<f", 0.0)
    struct.pack_into("4s", data, MAGIC, magic)
    np.testing.assert_array_equal(read_nifti(write(bytes(data))).array[0], BOX)
    np.testing.assert_array_equal(read_nifti_mask(write(bytes(data)))[0], BOX)
    extended = bytes(data[:348]) + b"\1\0\0\0" + struct.pack("<ii", 16, 6) + b"comment\0" + bytes(data[352:])
    assert code_of(write(extended)) == "NII-HEADER"  # nothing says that the comment is none of the voxels
    assert code_of(write(bytes(data[:348]))) == "NII-HEADER"  # the header of a pair under another name
    stated = bytearray(extended)
    struct.pack_into("<f", stated, VOX_OFFSET, 368.0)
    np.testing.assert_array_equal(read_nifti(write(bytes(stated))).array[0], BOX)


def test_the_length_of_the_file_decides_about_a_wrong_bitpix(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(patched(DATATYPE + 2, "<h", 32))
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").array[0], BOX)


def test_nifti_2_is_checked_likewise(tmp_path: Path) -> None:
    data = content(kind=nibabel.Nifti2Image)
    for offset, form, value, expected in ((168, "<q", 0, ""), (168, "<q", 540, "NII-HEADER"), (24, "<q", 2**62, "IMG-LARGE")):
        changed = bytearray(data)
        struct.pack_into(form, changed, offset, value)
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(changed)))
        if expected:
            assert code_of(tmp_path / "a.nii.gz") == expected
        else:
            np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").array[0], BOX)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_more_voxels_than_the_site_reads_are_refused_before_any_is_read(tmp_path: Path, ending: str) -> None:
    path, data = tmp_path / f"a.{ending}", patched(DIM, "<4h", 3, 30000, 30000, 30000)
    path.write_bytes(gzip.compress(bytes(data)) if ending.endswith("gz") else data)
    for read in (read_nifti, read_nifti_mask, read_nifti_extent):
        assert code_of(path, read) == "IMG-LARGE"
    path.write_bytes(gzip.compress(bytes(content())) if ending.endswith("gz") else content())
    assert read_nifti(path, settings=SiteData(max_megavoxels=1)).shape == BOX.shape
    path.write_bytes(patched(DIM, "<4h", 3, 30000, 30000, 1))
    assert code_of(path, dimension=2) == "IMG-LARGE"


def test_a_stream_that_goes_on_is_not_inflated_to_its_end(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(bytes(content())), *(packer.compress(bytes(2**22)) for _ in range(64)), packer.flush()]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(parts))  # 256 KB that hold 256 MB
    tracemalloc.start()
    try:
        assert code_of(tmp_path / "a.nii.gz") == "NII-HEADER"
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_look_at_a_file_needs_no_position(tmp_path: Path) -> None:
    series = np.stack([BOX, BOX * 2], -1)
    image = nibabel.Nifti1Image(series, None)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert read_nifti_shape(tmp_path / "a.nii.gz") == series.shape
    np.testing.assert_array_equal(read_nifti_values(tmp_path / "a.nii.gz"), series)
    (tmp_path / "b.nii").write_bytes(patched(DIM, "<4h", 3, 30000, 30000, 1))
    assert code_of(tmp_path / "b.nii", read_nifti_values) == "IMG-LARGE"


def test_bytes_behind_the_compressed_content_are_not_called_a_wrong_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(bytes(content())) + b"x")
    with pytest.raises(DataError, match="FILE-DAMAGED") as caught:
        read_nifti(path)
    assert "follows" in caught.value.what
