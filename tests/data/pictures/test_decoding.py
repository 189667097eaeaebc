"""Pictures keep their depth, show what a viewer shows, and are refused when damaged."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from medfl.data.image_files import read_image
from medfl.data.pictures.decoding import read_picture_geometry
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.pictures.writing import GREY, GREY_ALPHA, PNG_START, RGB, RGBA, chunk, write_png, write_tiff

DEEP = np.arange(12).reshape(3, 4) * 5000 + 123  # 16 bits


def read(path: Path) -> list[list[float]]:
    """Return rows of grey values."""
    found: list[list[float]] = read_image(path).array[0].T.tolist()
    return found


def codes(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(path.parent) not in str(caught.value)
    return caught.value.code


def test_sixteen_bits_of_colours_and_transparency_are_kept(tmp_path: Path) -> None:
    solid = np.full_like(DEEP, 65535)
    assert read(write_png(tmp_path / "a.png", np.dstack([DEEP] * 3), 16, RGB)) == DEEP.tolist()
    assert read(write_png(tmp_path / "b.png", np.dstack([DEEP, solid]), 16, GREY_ALPHA)) == DEEP.tolist()
    assert read(write_png(tmp_path / "c.png", np.dstack([DEEP] * 3 + [solid]), 16, RGBA)) == DEEP.tolist()
    green = np.dstack([DEEP * 0, DEEP, DEEP * 0])
    assert read(write_png(tmp_path / "d.png", green, 16, RGB)) == np.round(DEEP * 0.587).tolist()
    tifffile.imwrite(tmp_path / "e.tif", green.astype(np.uint16), photometric="rgb")
    tifffile.imwrite(tmp_path / "f.tif", green.astype(">u2"), photometric="rgb", byteorder=">", compression="deflate")
    planes = np.moveaxis(green, -1, 0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "g.tif", planes, photometric="rgb", planarconfig="separate")
    for name in "efg":
        assert read(tmp_path / f"{name}.tif") == np.round(DEEP * 0.587).tolist()


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", ">u2", "i2", ">i2", "<u4", ">u4", "i4", "f2", "<f4", ">f4", "f8"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_every_kind_of_number_in_tiff_is_kept(tmp_path: Path, kind: str, compression: str | None) -> None:
    dtype = np.dtype(kind)
    top = np.iinfo(dtype).max - 5 if dtype.kind in "iu" else 1000.5
    values = np.array([[0, 1, 2], [top, 3, -7 if dtype.kind != "u" else 7]]).astype(dtype)
    order = ">" if kind.startswith(">") else "<"
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, compression=compression, photometric="minisblack")
    assert read(tmp_path / "a.tif") == values.astype(np.float32).tolist()


@pytest.mark.parametrize("mode", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits"])
def test_other_compressions_of_tiff_keep_the_depth_or_are_refused(tmp_path: Path, mode: str, compression: str) -> None:
    values = np.array([[0, 1, 200], [3, 4, 250]]).astype(mode)
    values[0, 2] = 60000 if mode != "uint8" else 200
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    assert read(tmp_path / "a.tif") == values.tolist()
    if mode == "int32":  # say that the numbers are unsigned
        values[0, 2] = -5
        Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
        data = bytearray((tmp_path / "a.tif").read_bytes())
        (place,) = (k for k in range(len(data) - 12) if data[k : k + 8] == struct.pack("<HHI", 339, 3, 1))
        data[place + 8 : place + 10] = struct.pack("<H", 1)
        (tmp_path / "a.tif").write_bytes(data)
        assert read(tmp_path / "a.tif")[0] == [0, 1, np.float32(2**32 - 5)]


def test_a_tiff_that_inflates_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(1 << 20))
    tags = [(259, 3, 8), (279, 4, len(bomb))]
    path = write_tiff(tmp_path / "a.tif", np.zeros((3, 4)), 8, 1, extra=tags)
    path.write_bytes(path.read_bytes()[:-12] + bomb)
    assert codes(path) == "FILE-DAMAGED"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_white_may_be_zero(tmp_path: Path, bits: int) -> None:
    white = (1 << bits) - 1
    values = np.array([[0, white], [white // 3, white]])
    scale = 255 // white if white < 255 else 1
    path = write_tiff(tmp_path / "a.tif", values, bits, 1)
    assert read(path) == (values * scale).tolist()
    inverted = write_tiff(tmp_path / "b.tif", values, bits, 0)
    if bits == 12:
        assert codes(inverted) == "IMG-ENCODING"
    else:
        assert read(inverted) == ((white - values) * scale).tolist()
    assert read(write_png(tmp_path / "a.png", values, bits)) == (values * scale).tolist() if bits != 12 else True


def test_white_of_numbers_without_a_largest_one_is_refused(tmp_path: Path) -> None:
    for kind in ("int8", "int16", "uint32", "float32"):
        tifffile.imwrite(tmp_path / "a.tif", DEEP.astype(kind), photometric="miniswhite")
        assert codes(tmp_path / "a.tif") == "IMG-ENCODING"


def test_a_tiff_that_does_not_say_what_zero_is_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DEEP.astype(np.uint16), photometric="minisblack")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data.replace(struct.pack("<HHI", 262, 3, 1), struct.pack("<HHI", 60000, 3, 1)))
    assert codes(tmp_path / "a.tif") == "IMG-ENCODING"


def test_what_tiff_holds_beyond_colours_is_not_taken_for_grey(tmp_path: Path) -> None:
    channels = np.dstack([DEEP, DEEP * 2, DEEP * 0 + np.arange(4)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", channels, photometric="minisblack", planarconfig="contig")
    assert codes(tmp_path / "a.tif") == "IMG-ENCODING"
    tifffile.imwrite(tmp_path / "b.tif", channels.astype(np.float32), photometric="rgb")
    assert codes(tmp_path / "b.tif") == "IMG-ENCODING"
    tifffile.imwrite(tmp_path / "c.tif", DEEP.astype(np.complex64))
    assert codes(tmp_path / "c.tif") == "IMG-ENCODING"
    tifffile.imwrite(tmp_path / "d.tif", channels, photometric="cielab")
    assert codes(tmp_path / "d.tif") == "IMG-ENCODING"


def test_transparent_pixels_have_no_grey(tmp_path: Path) -> None:
    grey, clear = np.full((2, 2), 77, dtype=np.uint8), np.array([[0, 255], [255, 255]], dtype=np.uint8)
    Image.fromarray(np.dstack([grey, clear]), mode="LA").save(tmp_path / "la.png")
    Image.fromarray(np.dstack([grey] * 3 + [clear])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([grey] * 3 + [clear])).save(tmp_path / "rgba.tif")
    Image.fromarray(clear).save(tmp_path / "key.png", transparency=0)
    palette = Image.fromarray(clear // 255, mode=None)
    palette.putpalette([10, 10, 10, 90, 90, 90])
    palette.save(tmp_path / "p.png", transparency=0)
    write_png(tmp_path / "deep.png", np.dstack([DEEP, DEEP]), 16, GREY_ALPHA)
    for name in ("la.png", "rgba.png", "rgba.tif", "key.png", "p.png", "deep.png"):
        assert codes(tmp_path / name) == "IMG-ALPHA", name
    Image.fromarray(clear).save(tmp_path / "key.png", transparency=9)  # a grey that no pixel has
    assert read(tmp_path / "key.png") == clear.tolist()


def test_a_photograph_with_a_second_picture_in_it_is_read(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    first = Image.fromarray(smooth).convert("RGB")
    for other in (first.resize((16, 12)), first):
        first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[other])
        np.testing.assert_allclose(read(tmp_path / "a.jpg"), smooth, atol=4)


def test_pages_and_films_are_refused_and_previews_passed_over(tmp_path: Path) -> None:
    one, two = DEEP.astype(np.uint16), (DEEP // 2).astype(np.uint16)
    frames = [Image.fromarray(part.astype(np.uint8)) for part in (one // 256, two // 256)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        file.write(one)
        file.write(two)
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([one, two]), imagej=True)
    for name in ("film.png", "pages.tif", "stack.tif"):
        assert codes(tmp_path / name) == "IMG-FRAMES", name
    for first, second in ((0, 1), (1, 0)):
        with tifffile.TiffWriter(tmp_path / "preview.tif") as file:
            for preview in (first, second):
                file.write(two if preview else one, subfiletype=preview)
        assert read(tmp_path / "preview.tif") == one.tolist()


def test_a_flipped_bit_anywhere_in_a_png_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_png(tmp_path / "a.png", rng.integers(0, 256, (24, 24)), 8)
    whole = path.read_bytes()
    for place in range(8, len(whole) - 12, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert codes(path) in ("FILE-DAMAGED", "IMG-FORMAT", "IMG-LARGE"), place
    path.write_bytes(whole + b"rubbish")
    assert read(path)


def test_the_checksum_of_the_pixels_counts_too(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", DEEP // 256, 8)
    pixels = b"".join(b"\0" + bytes(row.tolist()) for row in DEEP // 256)
    stream = bytearray(zlib.compress(pixels))
    stream[-1] ^= 1
    header = path.read_bytes()[8:33]
    path.write_bytes(PNG_START + header + chunk(b"IDAT", bytes(stream)) + chunk(b"IEND", b""))
    assert codes(path) == "FILE-DAMAGED"
    tifffile.imwrite(tmp_path / "b.tif", DEEP.astype(np.uint16), compression="deflate")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        end = file.pages[0].dataoffsets[0] + file.pages[0].databytecounts[0]
    data = bytearray((tmp_path / "b.tif").read_bytes())
    data[end - 1] ^= 1
    (tmp_path / "b.tif").write_bytes(data)
    assert codes(tmp_path / "b.tif") == "FILE-DAMAGED"


def test_a_copy_that_was_interrupted_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (64, 64)).astype(np.uint8))
    noise.save(tmp_path / "a.jpg")
    noise.save(tmp_path / "b.jpg", restart_marker_rows=1)
    noise.save(tmp_path / "c.bmp")
    noise.save(tmp_path / "d.tif")
    noise.save(tmp_path / "e.tif", compression="tiff_lzw")
    for name in ("a.jpg", "b.jpg", "c.bmp", "d.tif", "e.tif"):
        whole = (tmp_path / name).read_bytes()
        half = len(whole) // 2
        read(tmp_path / name)
        (tmp_path / name).write_bytes(whole[:half])
        assert codes(tmp_path / name) == "IMG-FORMAT", name
        if name.endswith("jpg"):
            (tmp_path / name).write_bytes(whole[:half] + bytes(half))  # the rest is zeros
            assert codes(tmp_path / name) == "IMG-FORMAT", name
    noise.save(tmp_path / "b.jpg", restart_marker_rows=1)
    whole = (tmp_path / "b.jpg").read_bytes()
    start, end = whole.index(b"\xff\xd1"), whole.index(b"\xff\xd3")
    (tmp_path / "b.jpg").write_bytes(whole[:start] + whole[end:])  # two rows of blocks are gone
    assert codes(tmp_path / "b.jpg") == "FILE-DAMAGED"


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize(("colour", "channels"), [(GREY, 1), (RGB, 3), (RGBA, 4), (3, 1)])
def test_a_png_with_fewer_rows_than_it_says_is_found(tmp_path: Path, rows: int, colour: int, channels: int) -> None:
    header = struct.pack(">IIBBBBB", 5, 4, 8, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes([0] * 3 + [255] * 3)) if colour == 3 else b""
    pixels = zlib.compress((b"\0" + bytes([1] * 5 * channels)) * rows)  # of four; the stream is whole, and so is its checksum
    (tmp_path / "a.png").write_bytes(
        PNG_START + chunk(b"IHDR", header) + palette + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    assert codes(tmp_path / "a.png") == "FILE-DAMAGED"


def test_an_interlaced_png_is_read_if_it_has_all_its_passes(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 5, 7, 8, GREY, 0, 0, 1)
    sizes = [(1, 1), (1, 1), (1, 2), (2, 1), (2, 3), (4, 2), (3, 5)]  # rows and columns of the passes (PNG 8.2)
    for last in (7, 6):
        pixels = b"".join((b"\0" + bytes([9] * columns)) * rows for rows, columns in sizes[:last])
        content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(PNG_START + content)
        if last == 7:
            assert read(tmp_path / "a.png") == [[9] * 5] * 7
        else:
            assert codes(tmp_path / "a.png") == "FILE-DAMAGED"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}, {"subsampling": 1, "progressive": True}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_jpeg_that_lacks_restart_intervals_is_found(tmp_path: Path, options: dict[str, Any], mode: str, blocks: int) -> None:
    picture = Image.fromarray(np.add.outer(np.arange(125), np.arange(131)).astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "a.jpg", restart_marker_blocks=blocks, **options)
    whole = (tmp_path / "a.jpg").read_bytes()
    expected = read(tmp_path / "a.jpg")
    places = [place for place in range(len(whole) - 1) if whole[place] == 255 and 0xD0 <= whole[place + 1] <= 0xD7]
    (tmp_path / "a.jpg").write_bytes(whole[: places[3]] + whole[places[11] :])  # eight intervals: the numbers go on as before
    assert codes(tmp_path / "a.jpg") == "FILE-DAMAGED"
    last = whole.rindex(b"\xff\xd9")
    (tmp_path / "a.jpg").write_bytes(whole[: places[-9]] + whole[last:])
    assert codes(tmp_path / "a.jpg") == "FILE-DAMAGED"
    scan_end = whole[: places[-1]].count(b"\xff\xda")
    if scan_end == 1:  # a marker behind the last interval, as some encoders write
        closing = bytes([255, 0xD0 + (whole[places[-1] + 1] - 0xD0 + 1) % 8])
        (tmp_path / "a.jpg").write_bytes(whole[:last] + closing + whole[last:])
        assert read(tmp_path / "a.jpg") == expected
        (tmp_path / "a.jpg").write_bytes(whole[:last] + closing + b"\x55" + whole[last:])
        assert codes(tmp_path / "a.jpg") == "FILE-DAMAGED"


def test_restart_markers_that_no_header_announces_are_damage(tmp_path: Path) -> None:
    Image.fromarray(np.add.outer(np.arange(75), np.arange(101)).astype(np.uint8)).save(
        tmp_path / "a.jpg", restart_marker_rows=1
    )
    whole = (tmp_path / "a.jpg").read_bytes()
    start = whole.index(b"\xff\xdd")
    (tmp_path / "a.jpg").write_bytes(whole[:start] + whole[start + 6 :])
    assert codes(tmp_path / "a.jpg") == "FILE-DAMAGED"


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_damage_that_only_libtiff_speaks_of_is_found_and_not_printed(tmp_path: Path, compression: str, capfd: Any) -> None:
    form = np.random.default_rng(0).integers(0, 2, (64, 64)).astype(bool)
    Image.fromarray(form).save(tmp_path / "a.tif", compression=compression)
    assert read(tmp_path / "a.tif") == (form * 255).tolist()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        place = file.pages[0].dataoffsets[0] + 40
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[place : place + 8] = b"\xff\x00\xf0\x0f\0\0\0\0"
    (tmp_path / "a.tif").write_bytes(data)
    assert codes(tmp_path / "a.tif") == "FILE-DAMAGED"
    os.write(2, b"later")
    assert capfd.readouterr().err == "later"


def test_a_stack_that_only_a_description_states_is_refused(tmp_path: Path) -> None:
    stack = np.stack([DEEP.astype(np.uint16)] * 3)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", truncate=True)
    tifffile.imwrite(tmp_path / "b.tif", stack[:, None], photometric="minisblack", truncate=True)
    tifffile.imwrite(tmp_path / "c.tif", np.stack([stack] * 2), photometric="minisblack", truncate=True)
    for name in "abc":
        assert codes(tmp_path / f"{name}.tif") == "IMG-FRAMES"
    tifffile.imwrite(tmp_path / "v.tif", stack, photometric="minisblack", volumetric=True)
    with pytest.raises(DataError, match=r"IMG-FRAMES.*volumetric TIFF, of 3 planes"):
        read_image(tmp_path / "v.tif")
    tifffile.imwrite(tmp_path / "one.tif", stack[:1], photometric="minisblack", truncate=True)
    assert read(tmp_path / "one.tif") == DEEP.tolist()


def test_declared_sizes_have_a_ceiling(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", DEEP // 256, 8)
    huge = struct.pack(">IIBBBBB", 60000, 60000, 8, GREY, 0, 0, 0)
    path.write_bytes(PNG_START + chunk(b"IHDR", huge) + path.read_bytes()[33:])
    assert codes(path) == "IMG-LARGE"
    wide = np.zeros((1000, 2000), dtype=np.uint8)
    Image.fromarray(wide).save(tmp_path / "b.png")
    tifffile.imwrite(tmp_path / "c.tif", wide, compression="deflate")
    for name in ("b.png", "c.tif"):
        with pytest.raises(DataError, match=r"IMG-LARGE.*max-megapixels"):
            read_image(tmp_path / name, SiteData(max_megapixels=1))


def test_inks_that_do_not_say_what_zero_is_are_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 0, 0, 200)).save(tmp_path / "a.jpg")
    np.testing.assert_allclose(read(tmp_path / "a.jpg"), 55, atol=2)
    data = (tmp_path / "a.jpg").read_bytes()
    start = data.index(b"\xff\xee")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    (tmp_path / "a.jpg").write_bytes(data[:start] + data[start + 2 + length :])
    assert codes(tmp_path / "a.jpg") == "IMG-ENCODING"


@pytest.mark.parametrize("densities", [(3780, 1), (2834, -2834), (0, 2834)])
def test_a_density_of_bmp_that_cannot_be_right_is_told_and_not_followed(tmp_path: Path, densities: tuple[int, int]) -> None:
    check_density(tmp_path / "a.bmp", lambda data: (data.index(b"BM") + 38, struct.pack("<ii", *densities)))


@pytest.mark.parametrize("densities", [(1, 100), (0, 1), (65535, 72)])
@pytest.mark.parametrize("unit", [0, 1, 2])
def test_a_density_of_jfif_that_cannot_be_right_is_told_and_not_followed(
    tmp_path: Path, densities: tuple[int, int], unit: int
) -> None:
    check_density(tmp_path / "a.jpg", lambda data: (data.index(b"JFIF") + 7, struct.pack(">BHH", unit, *densities)))


def check_density(path: Path, change: Callable[[bytes], tuple[int, bytes]]) -> None:
    """Check that a picture whose density is changed to a wrong one is read as it was, with a warning."""
    Image.fromarray((DEEP // 256).astype(np.uint8)).save(path)
    expected = read_image(path)
    assert not expected.warnings
    data = bytearray(path.read_bytes())
    place, fields = change(bytes(data))
    data[place : place + len(fields)] = fields
    path.write_bytes(data)
    found = read_image(path)
    assert [warning.code for warning in found.warnings] == ["IMG-SPACING"]
    np.testing.assert_array_equal(found.array, expected.array)


def test_a_density_of_png_that_cannot_be_right_is_refused(tmp_path: Path) -> None:
    assert (
        codes(write_png(tmp_path / "a.png", DEEP // 256, 8, GREY, [(b"pHYs", struct.pack(">IIB", 100, 1, 0))])) == "IMG-SPACING"
    )


def test_numbers_beyond_the_table_of_colours_are_refused(tmp_path: Path) -> None:
    table: Any = [(b"PLTE", bytes([0, 0, 0, 255, 255, 255]))]
    assert read(write_png(tmp_path / "a.png", [[0, 1, 1]], 8, 3, table)) == [[0, 255, 255]]
    assert codes(write_png(tmp_path / "b.png", [[0, 1, 2]], 8, 3, table)) == "IMG-ENCODING"


def test_numbers_of_four_bits_are_not_read_as_of_eight(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    Image.fromarray(np.array([[0, 1, 1, 0]], dtype=np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    data[28] = 4  # bits of a pixel; the table of greys stays as it is
    path.write_bytes(data)
    assert codes(path) == "IMG-ENCODING"


def test_a_header_alone_tells_the_size_of_a_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray((DEEP // 256).astype(np.uint8))
    for suffix in ("png", "jpg", "tif", "bmp"):
        path = tmp_path / f"a.{suffix}"
        picture.save(path, dpi=(100, 200), **({} if suffix == "bmp" else {"exif": exif}))
        assert read_picture_geometry(path, SiteData()).size == read_image(path).shape


def test_what_a_library_says_of_a_header_is_held_back(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DEEP.astype(np.uint16), photometric="minisblack", description="CANARY")
    data = (tmp_path / "a.tif").read_bytes()
    software = data.index(struct.pack("<HH", 305, 2))  # a tag of text, made to point beyond the file
    (tmp_path / "a.tif").write_bytes(data[: software + 8] + b"\xff\xff\xff\x7f" + data[software + 12 :])
    assert read(tmp_path / "a.tif") == DEEP.tolist()
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
