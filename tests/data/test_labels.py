from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medfl.data.cases import Case, Source
from medfl.data.classes import annotated_classes, drop_unannotated
from medfl.data.image_files import read_image
from medfl.data.labels import parse_class, read_mask
from medfl.data.load import load_case
from medfl.data.mask_alignment import resample_mask
from medfl.data.mask_values import count_values, map_values
from medfl.data.nifti import read_nifti
from medfl.data.volume import Volume
from medfl.errors import DataError

SHAPE = (4, 5, 6)


def mask() -> NDArray[np.uint8]:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[1:3, 1:4, 2:4] = 1
    return values


@pytest.fixture
def read(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> Any:
    """Return a function that saves an image and a mask and reads the mask."""

    def go(values: NDArray[Any], affine: Any = None, *, image_affine: Any = None, **data: Any) -> NDArray[np.uint8]:
        image_path = save_nifti(tmp_path / "image.nii", np.arange(120, dtype=np.int16).reshape(SHAPE), image_affine)
        source = Source("nifti", (save_nifti(tmp_path / "label.nii", values, affine),))
        image = read_nifti(image_path)
        return read_mask(source, image, Source("nifti", (image_path,)), make_study(), make_site(tmp_path, **data))

    return go


def test_a_mask_on_the_same_grid_is_taken_as_it_is(read: Any) -> None:
    np.testing.assert_array_equal(read(mask()), mask())


def test_a_mask_stored_mirrored_is_turned(read: Any) -> None:
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = SHAPE[0] - 1
    values = mask()
    values[0, 0, 0] = 1
    np.testing.assert_array_equal(read(values[::-1].copy(), mirrored), values)
    turned = np.eye(4)[[1, 0, 2, 3]]
    np.testing.assert_array_equal(read(values.transpose(1, 0, 2).copy(), turned), values)


def test_a_mask_on_another_grid_is_refused(read: Any) -> None:
    moved = np.eye(4)
    moved[2, 3] = 1.0
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*1\.0 mm apart"):
        read(mask(), moved)
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*4x5x6 and 4x5x5"):
        read(mask()[..., :5])


def test_a_mask_on_a_finer_grid_is_resampled_when_the_site_says_so(read: Any) -> None:
    fine = np.repeat(np.repeat(np.repeat(mask(), 2, 0), 2, 1), 2, 2)
    affine = np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = -0.25  # voxel 0 of the fine grid lies a quarter of a voxel before that of the coarse one
    np.testing.assert_array_equal(read(fine, affine, label_geometry="resample"), mask())


def test_a_resampled_mask_keeps_its_outermost_voxels(read: Any) -> None:
    coarse = np.zeros((2, 5, 6), dtype=np.uint8)
    coarse[0] = 1
    affine = np.diag([2.0, 1, 1, 1])
    affine[0, 3] = 0.5  # voxel 0 of the mask covers voxels 0 and 1 of the image
    found = read(coarse, affine, label_geometry="resample")
    np.testing.assert_array_equal(found[:, 0, 0], [1, 1, 0, 0])


def test_values_must_be_classes(read: Any) -> None:
    with pytest.raises(DataError, match=r"LBL-VALUES.*values 0, 3, but the study declares 0=background, 1=organ"):
        read(mask() * 3)
    blurred = mask().astype(np.float32)
    blurred[1, 1, 2] = 0.37
    with pytest.raises(DataError, match=r"LBL-VALUES.*values 0, 0\.37, 1, but the study declares 0=background.*interpolation"):
        read(blurred)
    with pytest.raises(DataError, match="LBL-EMPTY"):
        read(mask() * 0)


def test_a_label_file_that_is_cut_or_missing_says_that_it_is_the_label(
    tmp_path: Path, make_study: Any, make_site: Any, save_nifti: Any
) -> None:
    path = save_nifti(tmp_path / "a.nii", np.arange(120, dtype=np.int16).reshape(SHAPE), np.diag([3.0, 3, 3, 1]))
    image = Source("nifti", (path,))
    case = Case("case-A", "pat-A", "0", image, Source("nifti", (tmp_path / "gone.nii",)))
    with pytest.raises(DataError, match=r"LBL-MISSING.*case-A: about the label"):
        load_case(case, make_study(), make_site(tmp_path))


def test_a_png_mask_of_0_and_255_is_background_and_foreground(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    study, site = make_study(task__dimension=2, task__modality="XR"), make_site(tmp_path)
    Image.fromarray(np.array([[0, 9, 5], [7, 1, 2]], dtype=np.uint8)).save(tmp_path / "image.png")
    image, source = read_image(tmp_path / "image.png"), Source("image", (tmp_path / "image.png",))

    def read(values: list[list[int]]) -> NDArray[np.uint8]:
        Image.fromarray(np.array(values, dtype=np.uint8)).save(tmp_path / "mask.png")
        return read_mask(Source("image", (tmp_path / "mask.png",)), image, source, study, site)

    np.testing.assert_array_equal(read([[0, 0, 255], [0, 0, 0]]), [[0, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal(read([[0, 0, 1], [0, 0, 0]]), [[0, 0], [0, 0], [1, 0]])
    with pytest.raises(DataError, match="LBL-VALUES"):
        read([[0, 3, 252], [0, 0, 255]])
    with pytest.raises(DataError, match="LBL-GEOMETRY"):
        read([[0, 255], [0, 0]])
    three = make_study(task__dimension=2, task__modality="XR", task__classes="background,left,right")
    Image.fromarray(np.array([[0, 0, 255], [0, 0, 0]], dtype=np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="LBL-VALUES"):  # which of the two would 255 be?
        read_mask(Source("image", (tmp_path / "mask.png",)), image, source, three, site)


def test_resampling_is_for_another_grid_and_not_for_another_image(read: Any) -> None:
    near, far = np.eye(4), np.eye(4)
    near[0, 3], far[0, 3] = 1.9, 2.1
    found = read(mask(), near, label_geometry="resample")
    np.testing.assert_array_equal(found[3], mask()[1])  # moved by two voxels of 1 mm
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*2\.1 mm.*2 mm is too much"):
        read(mask(), far, label_geometry="resample")
    with pytest.raises(DataError, match=r"2\.1 mm.*2 mm is too much"):  # nothing is advised that would not help
        read(mask(), far)
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*corners 1\.0 mm"):
        read(mask()[..., :5])
    assert read(mask()[..., :5], label_geometry="resample")[..., 5].max() == 0  # nothing was drawn there


def test_a_share_of_a_millimetre_adds_up_over_a_large_image() -> None:
    wide = np.diag([1.002, 1.0, 1.0, 1.0])
    image = Volume(np.zeros((1, 512, 2, 2), dtype=np.float32))
    values = np.zeros((512, 2, 2), dtype=np.uint8)
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*1\.0 mm apart \(allowed 0\.5\)"):
        resample_mask(values, wide, image, resample=False)
    assert resample_mask(values, np.diag([1.0009, 1.0, 1.0, 1.0]), image, resample=False) is not None


def test_at_most_five_values_are_listed_and_unexpected_ones_first(read: Any) -> None:
    values = mask()
    values[3] = np.arange(2, 32).reshape(5, 6)
    with pytest.raises(DataError, match=r"LBL-VALUES.*values 2, 3, 4, 5, 6 and 27 others, but"):
        read(values)
    values[3] = 0
    values[3, 0, :4] = 9, 8, 7, 6
    with pytest.raises(DataError, match=r"LBL-VALUES.*values 0, 6, 7, 8, 9 and 1 others, but"):
        read(values)


def test_a_large_mask_of_small_numbers_is_not_copied() -> None:
    values = np.zeros((3, 4, 5), dtype=np.uint8)
    values[1, 1, 1] = 1
    assert map_values(values, {0: 0, 1: 1}) is values
    assert count_values(values, "") == {0: 59, 1: 1}
    assert count_values(values.astype(np.float64) * -2e9, "") == {-2000000000: 1, 0: 59}


@pytest.fixture
def named(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> Any:
    """Return a function that reads a mask whose data set says what its values mean."""

    def go(values: NDArray[Any], names: dict[int, str], annotated: tuple[str, ...] = (), **data: Any) -> NDArray[np.uint8]:
        image = save_nifti(tmp_path / "image.nii", np.arange(120, dtype=np.int16).reshape(SHAPE), np.diag([3.0, 3, 3, 1]))
        label = save_nifti(tmp_path / "label.nii", values, np.diag([3.0, 3, 3, 1]))
        source = Source("nifti", (label,), names=tuple(names.items()))
        case = Case("case-A", "pat-A", "0", Source("nifti", (image,)), source, annotated=annotated)
        site = make_site(tmp_path, **data)
        found = load_case(case, make_study(task__classes="background,liver,lesion"), site)[1]
        assert isinstance(found, np.ndarray)
        return found

    return go


def test_values_mean_what_the_data_set_says(named: Any) -> None:
    values = np.zeros(SHAPE, dtype=np.int16)
    values[0], values[1], values[2] = 1, 2, 40
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[0], expected[1], expected[2] = 2, 1, 2
    names = {0: "background", 1: "Lesion", 2: "LIVER", 40: "Metastasis", 41: "unused"}
    np.testing.assert_array_equal(named(values, names, label_names=(("metastasis", "lesion"),)), expected)
    with pytest.raises(DataError, match=r"LBL-CLASSNAME.*1 of 4 values.*label-names") as caught:
        named(values, names)
    assert "etastasis" not in str(caught.value)
    with pytest.raises(DataError, match=r"LBL-VALUES.*values 0, 1, 2, 40, but the data set names only 0, 1, 2\."):
        named(values, {1: "lesion", 2: "liver"})


def test_ignored_voxels_are_not_background(named: Any) -> None:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[0], values[1, :, :3] = 1, 255
    with pytest.raises(DataError, match=r"LBL-UNANNOTATED.*12\.5 % of the voxels"):
        named(values, {1: "liver", 255: "ignore"})
    values[values == 255] = 0
    assert named(values, {1: "liver", 255: "ignore"}).sum() == 30


def test_an_empty_mask_needs_somebodys_word(named: Any) -> None:
    empty = np.zeros(SHAPE, dtype=np.uint8)
    with pytest.raises(DataError, match=r"LBL-EMPTY.*case-A.*negatives = true"):
        named(empty, {})
    assert not named(empty, {}, negatives=True).any()
    assert not named(empty, {}, ("lesion", "liver")).any()
    with pytest.raises(DataError, match="LBL-EMPTY"):
        named(empty, {}, annotated_classes=("liver", "lesion"))  # said of the site, and of no case


def test_what_nobody_looked_for_is_not_marked(named: Any) -> None:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[0], values[1] = 1, 2
    np.testing.assert_array_equal(named(values, {}, ("Liver",)), values * (values == 1))
    np.testing.assert_array_equal(named(values, {}, annotated_classes=("lesion",)), values * (values == 2))
    names = (("herd", "lesion"),)  # the word on the case counts more than that on the site
    np.testing.assert_array_equal(
        named(values, {}, ("liver", "Herd"), annotated_classes=("lesion",), label_names=names), values
    )
    with pytest.raises(DataError, match="LBL-CLASSNAME"):
        named(values, {}, ("liver", "CANARY"))
    with pytest.raises(DataError, match=r"LBL-UNANNOTATED.*nobody looked for a class"):
        named(values, {}, ("background",))


def test_a_mask_without_what_was_looked_for_is_empty(named: Any) -> None:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[1] = 2
    with pytest.raises(DataError, match="LBL-EMPTY"):
        named(values, {}, annotated_classes=("liver",))
    assert not named(values, {}, annotated_classes=("liver",), negatives=True).any()
    assert not named(values, {}, ("liver",)).any()  # of this very case somebody says that it was looked at


def test_a_mask_that_marks_more_than_was_looked_for_is_reported(make_study: Any, make_site: Any, tmp_path: Path) -> None:
    study, site = make_study(task__classes="background,liver,lesion,CANARY"), make_site(tmp_path)
    mask = np.array([[0, 1], [2, 2]], dtype=np.uint8)
    assert annotated_classes(("lesion", "Liver"), study, site) == (1, 2)
    assert annotated_classes(("liver", "lesion", "canary"), study, site) == ()
    assert annotated_classes((), study, site) == ()
    annotated, (warning,) = drop_unannotated(mask, (1, 3), study)
    assert annotated.tolist() == [[0, 1], [0, 0]]
    assert annotated.dtype == np.uint8
    assert warning.code == "LBL-BEYOND"
    assert "marks lesion, which" in warning.what
    assert drop_unannotated(mask, (), study) == (mask, [])
    assert drop_unannotated(mask, (1, 2), study) == (mask, [])


def test_flat_masks_are_compared_by_their_place(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> None:
    picture = np.arange(20, dtype=np.int16).reshape(4, 5, 1)
    values = (picture > 12).astype(np.uint8)
    study, site = make_study(task__dimension=2), make_site(tmp_path)
    source = Source("nifti", (save_nifti(tmp_path / "image.nii", picture),))
    image = read_nifti(source.paths[0], dimension=2)

    def read(values: NDArray[Any], affine: Any) -> NDArray[np.uint8]:
        return read_mask(Source("nifti", (save_nifti(tmp_path / "mask.nii", values, affine),)), image, source, study, site)

    expected = values[::-1, ::-1, 0]  # the array runs to the right and to the front, pictures to the left and to the back
    np.testing.assert_array_equal(image.array[0], picture[::-1, ::-1, 0])
    np.testing.assert_array_equal(read(values, np.eye(4)), expected)
    mirrored, moved = np.diag([-1.0, 1, 1, 1]), np.eye(4)
    mirrored[0, 3], moved[1, 3] = 3, 2
    np.testing.assert_array_equal(read(values[::-1].copy(), mirrored), expected)
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*2\.0 mm apart"):
        read(values, moved)


def test_a_damaged_place_of_a_flat_mask_is_refused_and_a_missing_axis_is_not(
    tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any
) -> None:
    picture = np.arange(20, dtype=np.int16).reshape(4, 5, 1)
    values = (picture > 12).astype(np.uint8)
    source = Source("nifti", (save_nifti(tmp_path / "image.nii", picture),))
    image = read_nifti(source.paths[0], dimension=2)

    def read(affine: Any) -> NDArray[np.uint8]:
        made = nibabel.Nifti1Image(values, None)
        made.header.set_sform(affine, 1)
        nibabel.save(made, tmp_path / "mask.nii")
        label = Source("nifti", (tmp_path / "mask.nii",))
        return read_mask(label, image, source, make_study(task__dimension=2), make_site(tmp_path))

    np.testing.assert_array_equal(read(np.diag([1.0, 1, 0, 1])), values[::-1, ::-1, 0])
    far = np.eye(4)
    far[0, 3] = np.inf
    for damaged in (np.diag([0.0, 0, 0, 1]), np.diag([np.nan, 1, 1, 1]), far):
        with pytest.raises(DataError, match="NII-HEADER"):
            read(damaged)


def test_a_mask_at_45_degrees_to_the_patient_is_not_turned(read: Any) -> None:
    half = np.sqrt(0.5)
    one, other = np.eye(4), np.eye(4)
    one[:2, :2] = [[half, -half], [half, half]]
    other[:2, :2] = one[:2, :2] + 1e-6 * np.array([[-1, -1], [1, -1]])  # which axis is nearer is decided by rounding
    np.testing.assert_array_equal(read(mask(), other, image_affine=one), mask())
    mirrored = one @ np.diag([-1.0, 1, 1, 1])
    mirrored[:3, 3] = one[:3, 0] * (SHAPE[0] - 1)
    np.testing.assert_array_equal(read(mask()[::-1].copy(), mirrored, image_affine=one), mask())


@pytest.mark.parametrize(("text", "index"), [("benign", 0), (" Malignant ", 1), ("bad", 1), ("\u200bgood\xa0", 0)])
def test_class_texts(text: str, index: int) -> None:
    assert parse_class(text, ("benign", "malignant"), ("good", "bad")) == index


@pytest.mark.parametrize(
    ("classes", "local", "positions", "found"),
    [
        ("1 2 3", "", False, {"0": None, "1": 0, "2.0": 1, "03": 2, "3,0": 2, "4": None, "1.5": None}),
        ("grade_1 grade_2", "", False, {"0": None, "1": None, "grade_1": 0, "Grade_2": 1}),
        ("no yes", "0 1", False, {"0": 0, "1.0": 1, "2": None, "yes": 1, "true": None}),
        ("no yes", "", True, {"0": 0, "1.0": 1, "2": None, "-1": None, "no": 0, "false": None}),
        ("1 2", "0 1", False, {"0": 0, "1": 1, "2": None}),  # the site's 1 is the study's 2: what is its 2?
        ("true false", "", False, {"True": 0, "FALSE": 1, "1": None, "yes": None}),
        ("none mild", "", False, {"None": 0, "mild": 1}),
        ("1 01", "", False, {"1": 0, "01": 1, "1.0": None}),
        ("a b", "x x", False, {"x": None, "b": 1}),
    ],
)
def test_a_number_is_a_name_unless_it_is_said_to_be_a_position(
    classes: str, local: str, positions: bool, found: dict[str, int | None]
) -> None:
    names, theirs = [text.replace("_", " ") for text in classes.split()], local.split()
    for text, index in found.items():
        text = text.replace("_", " ")
        if index is not None:
            assert parse_class(text, names, theirs, positions=positions) == index, text
        else:
            with pytest.raises(DataError, match="LBL-CLASS"):
                parse_class(text, names, theirs, positions=positions)


@pytest.mark.parametrize("text", ["nan", "NA", "None", "n/a", "#N/A", " ", "<NA>", "-"])
def test_what_programs_write_for_nothing_is_no_class(text: str) -> None:
    with pytest.raises(DataError, match="LBL-MISSING"):
        parse_class(text, ("benign", "malignant"), positions=True)


def test_a_number_among_names_is_answered_with_what_to_write() -> None:
    with pytest.raises(DataError) as caught:
        parse_class("1", ("benign", "malignant"))
    assert 'Set classes = "0,1" in site.toml if these stand for benign, malignant in this order' in caught.value.fix


@pytest.mark.parametrize(
    ("text", "code"), [("", "LBL-MISSING"), ("2", "LBL-CLASS"), ("-1", "LBL-CLASS"), ("Jane Doe", "LBL-CLASS")]
)
def test_texts_that_are_no_class(text: str, code: str) -> None:
    with pytest.raises(DataError, match=code) as caught:
        parse_class(text, ("benign", "malignant"))
    assert "Jane" not in str(caught.value)
