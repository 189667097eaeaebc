"""Compressed frames that are damaged and keep their end: found, and never the end of a whole run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.dicom.frame_integrity import check_rle
from medfl.data.dicom.image import read_dicom_image
from medfl.errors import DataError
from tests.data.dicom.compression import LOSSLESS, encode_jpeg, encode_rle, put_frame
from tests.data.dicom.phantom import stack, write_slices

SHAPE = (64, 48)
NOISE = np.random.default_rng(1).integers(0, 9, SHAPE)
SMOOTH = (np.linspace(0, 4000, NOISE.size).reshape(SHAPE) + NOISE).astype("<u2")
HEADER = bytes([1, 0, 0, 0, 64]) + bytes(59)  # of one segment in RLE


class Panic(BaseException):
    """As a decoder in Rust raises it: no `Exception`."""


def read_frame(folder: Path, syntax: Any, frame: bytes) -> Any:
    def change(k: int, ds: Any) -> None:
        ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept = [1, 1], "1", "0"
        put_frame(ds, (syntax, frame))

    (path,) = write_slices(folder, stack(1), change, shape=SHAPE)
    return read_dicom_image(path)


def test_a_decoder_that_panics_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*args: Any, **options: Any) -> None:
        raise Panic

    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.as_array", panic)
    for encode in LOSSLESS.values():
        with pytest.raises(DataError, match="DCM-TRUNCATED"):
            read_frame(tmp_path, *encode(SMOOTH))


@pytest.mark.parametrize("first", [64, 400, 3000, 5000])
def test_flipped_bits_in_rle_never_make_its_decoder_panic(tmp_path: Path, capfd: Any, first: int) -> None:
    syntax, frame = encode_rle(SMOOTH)
    for place in range(first, min(first + 20, len(frame))):
        damaged = bytearray(frame)
        damaged[place] ^= 0x40
        with suppress(DataError):  # one value may differ, which nobody can know
            read_frame(tmp_path, syntax, bytes(damaged))
    assert capfd.readouterr().err == ""


def test_rle_is_walked_to_its_end() -> None:
    packed = bytes([253, 7, 1, 8, 9, 128, 255, 3])  # 4 times 7; 8 and 9; nothing; 2 times 3
    check_rle(HEADER + packed, 8)
    check_rle(HEADER + packed + b"\0", 8)
    for segment, pixels in ((packed, 7), (packed, 9), (packed[:-1], 8), (packed + b"\1\1", 8), (bytes([5, 1]), 6), (b"", 1)):
        with pytest.raises(ValueError, match="segment"):
            check_rle(HEADER + segment, pixels)
    for header in (bytes(64), HEADER[:4] + b"\x50" + HEADER[5:], HEADER[:-1] + b"\1", b"\x20" + HEADER[1:]):
        with pytest.raises(ValueError, match="segments"):
            check_rle(header + packed, 8)


def cut(frame: bytes, end: bytes) -> bytes:
    return frame[: len(frame) // 2] + end


def empty(frame: bytes, end: bytes) -> bytes:
    return frame[: len(frame) // 2] + bytes(len(frame) - len(frame) // 2 - len(end)) + end


def shorten(frame: bytes, end: bytes) -> bytes:
    return frame[: len(frame) // 2] + frame[len(frame) // 2 + 64 :]


@pytest.mark.parametrize("name", list(LOSSLESS))
@pytest.mark.parametrize("damage", [cut, empty, shorten])
def test_a_damaged_frame_that_keeps_its_end_is_refused(tmp_path: Path, capfd: Any, name: str, damage: Any) -> None:
    syntax, frame = LOSSLESS[name](SMOOTH)
    assert (read_frame(tmp_path / "whole", syntax, frame).array[0] == SMOOTH.T).all()
    end = b"" if name == "RLE" else b"\xff\xd9"
    with pytest.raises(DataError, match="DCM-TRUNCATED"):
        read_frame(tmp_path / "damaged", syntax, damage(frame, end))
    assert capfd.readouterr().err == ""


def without_its_end(frame: bytes, end: bytes) -> bytes:
    return frame[:-200] + end


@pytest.mark.parametrize("damage", [cut, empty, without_its_end])
def test_a_damaged_jpeg_that_keeps_its_end_is_refused(tmp_path: Path, damage: Any) -> None:
    grey = (SMOOTH >> 4).astype(np.uint8)

    def write(name: str, frame: bytes) -> Path:
        def change(k: int, ds: Any) -> None:
            ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept = [1, 1], "1", "0"
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
            put_frame(ds, (syntax, frame))

        return write_slices(tmp_path / name, stack(1), change, shape=SHAPE)[0]

    syntax, frame = encode_jpeg(grey)
    assert np.abs(read_dicom_image(write("whole", frame)).array[0].T - grey).max() <= 2
    with pytest.raises(DataError, match="DCM-TRUNCATED"):
        read_dicom_image(write("damaged", damage(frame, b"\xff\xd9")))
