"""Which column of an index is what: images, labels, patients, hospitals."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.data.layouts.index_roles import IndexRoles, read_index_roles


def table(root: Path, text: str, *files: str, name: str = "index.csv") -> IndexRoles | None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / name).write_text(text)
    return read_index_roles(root)


def test_a_table_of_any_name_and_columns_gives_its_roles(tmp_path: Path) -> None:
    rows = [f"{k}.png,{'ab'[k % 2]},P{k // 2},{'north' if k < 4 else 'south'}" for k in range(8)]
    roles = table(
        tmp_path, "\n".join(["filename,diagnosis,subject_id,site", *rows]), *(f"{k}.png" for k in range(8)), name="x.csv"
    )
    assert roles is not None
    assert (roles.image, roles.masks, roles.classes) == ("filename", (), ("diagnosis",))
    assert (roles.patient, roles.hospitals) == ("subject_id", ("site",))


def test_ids_whose_files_lie_in_two_folders_give_images_and_masks(tmp_path: Path) -> None:
    files = [f"{folder}/c{k}.nii.gz" for k in range(3) for folder in ("images", "labels")]
    roles = table(tmp_path, "id\nc0\nc1\nc2\n", *files)
    assert roles is not None
    assert (roles.image, roles.masks) == ("images/{id}.nii.gz", ("labels/{id}.nii.gz",))


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("site", "nnss", "a patient is at two sites"),
        ("site", "nnnn", "there is one value only"),
        ("sex", "nsns", "the name says something else"),
    ],
)
def test_what_cannot_be_hospitals_is_none(tmp_path: Path, column: str, values: str, why: str) -> None:
    people = ("p1", "p2", "p1", "p2")
    rows = [f"{k}.png,{k % 2},{people[k]},{values[k]}" for k in range(4)]
    roles = table(tmp_path, "\n".join([f"image,label,patient,{column}", *rows]), *(f"{k}.png" for k in range(4)))
    assert roles is not None
    assert roles.hospitals == (), why


def test_rows_without_a_label_are_counted_with_their_condition(tmp_path: Path) -> None:
    roles = table(tmp_path, "image,view\n0.png,PA\n1.png,\n2.png,n/a\n3.png,AP\n", *(f"{k}.png" for k in range(4)))
    assert roles is not None
    assert roles.find_blanks("view") == ("view!=|n/a", 2)
    assert roles.find_blanks("image") == ("", 0)
    assert roles.find_blanks("masks/{id}.png") == ("", 0)


def test_a_table_that_names_no_image_has_no_roles(tmp_path: Path) -> None:
    assert table(tmp_path, "patient,age\np1,70\np2,60\n") is None
    assert read_index_roles(tmp_path / "nothing-here") is None
