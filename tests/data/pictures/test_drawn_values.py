"""Masks that are pictures: the values that were drawn, whatever numbers the file stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from medfl.data.image_files import read_mask_image
from medfl.errors import DataError
from medfl.site import SiteData
from tests.data.pictures.writing import write_png, write_tiff

NUMBERS = np.array([[0, 0, 1], [1, 1, 2]], dtype=np.uint8)  # 2 rows, 3 columns
DRAWN, SHOWN, STORED = SiteData(), SiteData(mask_values="shown"), SiteData(mask_values="stored")
TABLE = [(0, 0, 0), *((7 * k % 251, 70 + k, 200 - k) for k in range(1, 24))]  # of classes, in an order of its own
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def save_palette(path: Path, numbers: Any, colours: Sequence[tuple[int, ...]], **options: Any) -> Path:
    image = Image.fromarray(np.asarray(numbers, dtype=np.uint8), mode=None)
    image.putpalette([value for colour in colours for value in colour])
    image.save(path, **options)
    return path


def read(path: Path, settings: SiteData = DRAWN) -> list[list[int]]:
    """Return rows of values."""
    found: list[list[int]] = read_mask_image(path, settings).T.tolist()
    return found


def test_a_table_of_greys_stands_for_the_greys(tmp_path: Path) -> None:
    form = np.array([[0, 1, 0], [1, 1, 0]], dtype=np.uint8)
    quantised = Image.fromarray(form * 255).convert("RGB").quantize(2)
    assert quantised.getpalette()[:3] == [255, 255, 255]  # Pillow puts white first
    quantised.save(tmp_path / "q.png")
    assert read(tmp_path / "q.png") == (form * 255).tolist()
    for suffix in ("png", "bmp", "tif"):
        path = tmp_path / f"a.{suffix}"
        assert read(save_palette(path, form, [BLACK, WHITE])) == (form * 255).tolist()
        assert read(save_palette(path, form, [WHITE, BLACK])) == (255 - form * 255).tolist()
    assert read(save_palette(tmp_path / "n.png", NUMBERS, [(2, 2, 2), (0, 0, 0), (1, 1, 1)])) == [[2, 2, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    "colours",
    [
        [BLACK, (128, 0, 0), (0, 128, 0)],  # Pascal VOC
        [BLACK, (255, 0, 0), (0, 255, 0)],  # ITK-SNAP
        [BLACK, (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)],
        TABLE,
    ],
)
def test_numbers_of_a_table_of_classes_are_the_classes(tmp_path: Path, colours: list[tuple[int, ...]]) -> None:
    for suffix in ("png", "tif", "bmp"):
        assert read(save_palette(tmp_path / f"a.{suffix}", NUMBERS, colours)) == NUMBERS.tolist()


@pytest.mark.parametrize(
    "colours",
    [
        [(0, 255, 0), BLACK, (255, 0, 0)],  # the background has another number
        [(0, 200, 0), (200, 0, 0), (0, 0, 200)],  # there is none
        [BLACK, (7, 70, 200), (90, 9, 31)],  # made for this file: another may number its colours the other way
        [BLACK, (7, 70, 200), (90, 9, 31), (1, 2, 200)],  # a colour that is not in use, as after a crop, changes nothing
        [BLACK, (255, 255, 255), (255, 0, 0)],
        [BLACK, (7, 70, 200), (90, 9, 31), *[(1, 2, 200)] * 40],  # one colour, forty times
        [BLACK, (7, 70, 200), (90, 9, 31), *[(k % 16, 0, k // 16) for k in range(40)]],  # shades of black
        [BLACK, (255, 0, 0), (255, 0, 0)],  # two numbers look alike
        [BLACK, BLACK, BLACK],
    ],
)
def test_numbers_that_may_mean_anything_are_refused_until_the_site_says(tmp_path: Path, colours: list[tuple[int, ...]]) -> None:
    path = save_palette(tmp_path / "a.png", NUMBERS, colours)
    with pytest.raises(DataError, match=r"LBL-PALETTE.*mask-values = 'stored'"):
        read(path)
    assert read(path, STORED) == NUMBERS.tolist()


def test_a_mask_with_a_table_of_colours_may_be_empty(tmp_path: Path) -> None:
    voc = [BLACK, (128, 0, 0), (0, 128, 0)]
    for table in (voc, TABLE, [BLACK, (7, 70, 200)], [BLACK, WHITE]):
        assert read(save_palette(tmp_path / "a.png", NUMBERS * 0, table)) == (NUMBERS * 0).tolist()
        assert read(save_palette(tmp_path / "b.png", NUMBERS * 0, table, transparency=0)) == (NUMBERS * 0).tolist()


def test_a_table_of_which_most_is_in_use_may_be_of_one_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="LBL-PALETTE"):
        read(save_palette(tmp_path / "a.png", np.arange(16).reshape(4, 4), TABLE))


def test_colours_of_the_web_are_no_classes(tmp_path: Path) -> None:
    painted = np.zeros((4, 4, 3), dtype=np.uint8)
    painted[0], painted[1] = (255, 0, 0), (0, 255, 0)
    Image.fromarray(painted).convert("P").save(tmp_path / "web.png")
    with pytest.raises(DataError, match="LBL-PALETTE"):
        read(tmp_path / "web.png")


def test_one_colour_on_black_is_marked_whatever_its_number(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png", NUMBERS > 0, [BLACK, (12, 90, 200)])
    assert read(path) == [[0, 0, 255], [255, 255, 255]]  # 255 is the one class of a study of two, and an error for three


def save_alpha(path: Path, colours: Any, alpha: Any) -> Path:
    parts = [np.asarray(part, dtype=np.uint8) for part in (colours, alpha)]
    grey = parts[0].ndim == 2
    Image.fromarray(np.dstack(parts), mode="LA" if grey else None).save(path)
    return path


FORM = np.array([[0, 255, 255], [0, 0, 255]], dtype=np.uint8)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (9, 9, 9), (255, 0, 0)], ids=["black", "white", "grey", "red"])
def test_a_form_in_the_transparency_is_marked(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    everywhere = np.full((2, 3, 3), colour, dtype=np.uint8)
    assert read(save_alpha(tmp_path / "a.png", everywhere, FORM)) == FORM.tolist()
    assert read(save_alpha(tmp_path / "b.tif", everywhere, FORM)) == FORM.tolist()
    assert read(save_alpha(tmp_path / "c.png", everywhere[..., 0], FORM)) == FORM.tolist()


def test_what_is_transparent_is_background(tmp_path: Path) -> None:
    marked = np.array([[0, 1, 2], [0, 0, 1]], dtype=np.uint8)
    assert read(save_alpha(tmp_path / "a.png", marked, FORM)) == marked.tolist()
    assert read(save_alpha(tmp_path / "b.png", marked, np.full_like(FORM, 255))) == marked.tolist()
    assert read(save_alpha(tmp_path / "c.png", marked, np.full_like(FORM, 128))) == marked.tolist()  # laid over an image
    assert read(save_alpha(tmp_path / "d.png", marked * 0, FORM * 0)) == [[0, 0, 0], [0, 0, 0]]
    red = np.zeros((2, 3, 3), dtype=np.uint8)
    red[FORM > 0] = 255, 0, 0
    assert read(save_alpha(tmp_path / "e.png", red, FORM)) == FORM.tolist()
    for colours in ([WHITE, (128, 0, 0), (0, 128, 0)], [(9, 9, 9), (1, 1, 1), (2, 2, 2)]):
        assert read(save_palette(tmp_path / "p.png", NUMBERS, colours, transparency=0)) == NUMBERS.tolist()


def test_transparency_that_leaves_it_open_is_refused(tmp_path: Path) -> None:
    two = np.array([[255, 0, 0], [255, 255, 0]], dtype=np.uint8)
    soft = FORM // 255 * np.array([0, 90, 255], dtype=np.uint8)
    faint = np.where(FORM > 0, 255, 128).astype(np.uint8)  # two opacities, and nothing that is not seen
    for name, colours, alpha in (("hidden", two, FORM), ("soft", FORM, soft), ("unseen", two, FORM * 0), ("faint", two, faint)):
        with pytest.raises(DataError, match="LBL-ALPHA"):
            read(save_alpha(tmp_path / f"{name}.png", colours, alpha))
    painted = np.zeros((2, 3, 3), dtype=np.uint8)
    painted[0, 1], painted[0, 2], painted[1, 2] = (255, 0, 0), (0, 255, 0), (255, 0, 0)
    with pytest.raises(DataError, match="LBL-COLOR"):
        read(save_alpha(tmp_path / "painted.png", painted, FORM))


def test_black_and_white_are_0_and_255_at_every_depth(tmp_path: Path) -> None:
    form = np.array([[0, 1, 0], [1, 1, 0]])
    for bits in (1, 2, 4, 8, 12, 16):
        white = (1 << bits) - 1
        assert read(write_tiff(tmp_path / "a.tif", form * white, bits, 1)) == (form * 255).tolist()
        if bits != 12:  # these are not read inverted
            assert read(write_tiff(tmp_path / "b.tif", form * white, bits, 0), SHOWN) == (255 - form * 255).tolist()
    Image.fromarray(form.astype(bool)).save(tmp_path / "c.png")
    assert read(tmp_path / "c.png") == (form * 255).tolist()


def test_few_bits_hold_numbers_of_classes(tmp_path: Path) -> None:
    assert read(write_tiff(tmp_path / "a.tif", NUMBERS, 2, 1)) == NUMBERS.tolist()
    assert read(write_tiff(tmp_path / "b.tif", NUMBERS, 4, 1)) == NUMBERS.tolist()
    inverted = write_tiff(tmp_path / "c.tif", NUMBERS, 8, 0)
    for settings in (DRAWN, SHOWN):
        with pytest.raises(DataError, match=r"LBL-PALETTE.*0 is white"):
            read(inverted, settings)
    assert read(inverted, STORED) == NUMBERS.tolist()


RAMP = [(255 - k,) * 3 for k in range(256)]


def write_inverted(path: Path, how: str) -> Path:
    """Write a mask as programs do that store what was marked as the larger number and let 0 be shown white."""
    form = FORM > 0
    if how == "bool":
        tifffile.imwrite(path.with_suffix(".tif"), form)
    elif how in ("uint8", "uint16"):
        white = np.iinfo(how).max
        tifffile.imwrite(path.with_suffix(".tif"), form.astype(how) * white, photometric="miniswhite", compression="deflate")
    elif how == "packbits":
        Image.fromarray(~form).save(path.with_suffix(".tif"), compression="packbits", tiffinfo={262: 0})
    elif how == "4 bits":
        return write_png(path, form * 15, 4, 3, [(b"PLTE", bytes(255 - 17 * (k // 3) for k in range(48)))])
    else:
        return save_palette(path.with_suffix(f".{how}"), FORM, RAMP)
    return path.with_suffix(".tif")


@pytest.mark.parametrize("how", ["bool", "uint8", "uint16", "packbits", "png", "bmp", "tif", "4 bits"])
def test_a_mask_in_which_0_is_white_is_refused_until_the_site_says_what_was_marked(tmp_path: Path, how: str) -> None:
    path = write_inverted(tmp_path / "a", how)
    with pytest.raises(DataError, match=r"LBL-PALETTE.*'stored' if.*ImageJ.*'shown' if"):
        read(path)
    assert (np.array(read(path, STORED)) > 0).tolist() == (FORM > 0).tolist()
    assert read(path, SHOWN) == (255 - FORM).tolist()


def test_greys_that_fall_are_values_where_all_are_in_use(tmp_path: Path) -> None:
    falling = [(value,) * 3 for value in (255, 2, 1, 0)]
    assert read(save_palette(tmp_path / "a.png", [[3, 2], [1, 0]], falling)) == [[0, 1], [2, 255]]
    with pytest.raises(DataError, match="LBL-PALETTE"):
        read(save_palette(tmp_path / "a.png", [[3, 2], [0, 0]], falling))


def test_an_empty_mask_in_which_0_is_white_is_not_taken_for_a_full_one(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3), dtype=bool))
    with pytest.raises(DataError, match="LBL-PALETTE"):
        read(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif", STORED) == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_a_fax_is_seen_as_shown(tmp_path: Path, compression: str, photometric: int) -> None:
    Image.fromarray(FORM > 0).save(tmp_path / "a.tif", compression=compression, tiffinfo={262: photometric})
    assert read(tmp_path / "a.tif") == np.asarray(Image.open(tmp_path / "a.tif").convert("L")).tolist()
    raw = np.array(read(tmp_path / "a.tif", STORED)) > 0
    assert raw.tolist() == ((np.array(read(tmp_path / "a.tif")) > 0) ^ (photometric == 0)).tolist()


def test_classes_that_are_grey_in_a_table_of_colours_are_numbers(tmp_path: Path) -> None:
    voc = [BLACK, (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128)]
    assert read(save_palette(tmp_path / "a.png", NUMBERS // 2 * 7, voc)) == (NUMBERS // 2 * 7).tolist()
    table = [*TABLE[:2], (60, 60, 60), *TABLE[3:]]
    for numbers in (NUMBERS, NUMBERS // 2 * 2):  # with a class that has a colour, and without
        assert read(save_palette(tmp_path / "b.png", numbers, table)) == numbers.tolist()
    white = [*TABLE[:-1], WHITE]  # the tables of programs for painting: white on black is a form
    assert read(save_palette(tmp_path / "c.bmp", NUMBERS // 2 * 23, white)) == (NUMBERS // 2 * 255).tolist()


def test_one_class_of_a_small_table_is_not_taken_for_its_number(tmp_path: Path) -> None:
    form = (NUMBERS > 0).astype(np.uint8)
    one, other = (7, 70, 200), (90, 9, 31)
    first = read(save_palette(tmp_path / "a.png", form * 2, [BLACK, one, other]))
    second = read(save_palette(tmp_path / "b.png", form, [BLACK, other, one]))
    assert first == second == (form * 255).tolist()  # in a study of three classes, 255 is none


def test_a_mask_in_jpeg_is_refused_for_what_it_is(tmp_path: Path) -> None:
    form = np.zeros((16, 16), dtype=np.uint8)
    form[3:9, 5:13] = 255
    Image.fromarray(form).save(tmp_path / "a.jpg", quality=60)
    Image.fromarray(form // 255).save(tmp_path / "b.jpg", quality=60)  # numbers of classes: 1 may have become 0
    Image.fromarray(form).save(tmp_path / "c.tif", compression="jpeg")
    for name in ("a.jpg", "b.jpg", "c.tif"):
        with pytest.raises(DataError, match=r"LBL-LOSSY.*JPEG"):
            read(tmp_path / name)
    Image.fromarray(np.repeat(form[:, :8], 8, axis=1)[:8] * 0 + 255).save(tmp_path / "d.jpg", quality=100)
    assert np.unique(read(tmp_path / "d.jpg")).tolist() == [255]
