"""A table of another name, or with other columns, whose cells name images that are there is told as the likely index."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.cohort import read_cohort
from medfl.data.overview import make_overview
from medfl.data.quality.site_check import check_site
from medfl.errors import DataError
from medfl.study import Study
from medfl.testing.sites import make_study

Writer = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Return a writer of four pictures in a folder, and of a table with a row for each."""

    def make(folder: str, table: str, header: str, row: str, rows: int = 4) -> Path:
        root = tmp_path / "data"
        (root / folder).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        for k in range(4):
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(root / folder / f"{k:02d}.png")
        lines = (row.format(n=f"{k:02d}", c="ab"[k % 2]) for k in range(rows))
        (root / table).write_text("\n".join([header, *lines]), encoding="utf-8")
        return root

    return make


def settings_of(text: str) -> dict[str, str]:
    return dict(re.findall(r'(index|image|label) = "([^"]+)"', text))


@pytest.mark.parametrize(
    ("folder", "table", "column", "cell", "image"),
    [
        ("Bilder", "Bilderliste.csv", "Bild", "Bilder/{n}.png", "Bild"),
        ("Bilder", "Patientenliste.csv", "Bild", "Bilder\\{n}.png", "Bild"),
        ("images", "metadata.csv", "Datei", "{n}.png", "images/{Datei}"),
        ("images", "meta_data.tsv", "Nr", "{n}", "images/{Nr}.png"),
        (".", "liste.csv", "Bild", "{n}.png", "Bild"),
    ],
)
def test_the_likely_index_is_told_and_what_is_told_works(
    folder: str, table: str, column: str, cell: str, image: str, write: Writer, make_site: Any
) -> None:
    root = write(folder, table, f"{column},Patient,Befund", f"{cell},P{{n}},{{c}}")
    (told,) = {f.fix for f in check_site(make_site(root))[0].all_findings if "if it is the index" in f.fix}
    assert settings_of(told) == {"index": table, "image": image}
    if folder != ".":  # pictures in the data folder itself have no layout
        assert any(told in text for text in make_overview(make_site(root)).warnings)
    cohort = read_cohort(make_site(root, **settings_of(told), patient="Patient", label="Befund"), study_of_classes())
    assert [finding.code for finding in cohort.findings] == []
    assert len(cohort.cases) == 4


def study_of_classes() -> Study:
    return make_study("classification", task={"classes": ("a", "b")})


def test_masks_of_a_table_are_told_as_the_label(write: Writer, make_site: Any) -> None:
    write("Masken", "liste.csv", "x", "y")
    root = write("Bilder", "liste.csv", "Bild,Maske", "Bilder/{n}.png,Masken/{n}.png")
    (told,) = {f.fix for f in check_site(make_site(root))[0].all_findings if "if it is the index" in f.fix}
    assert settings_of(told) == {"index": "liste.csv", "image": "Bild", "label": "Maske"}


def test_an_index_whose_paths_lack_the_folder_is_told_the_pattern(write: Writer, make_site: Any) -> None:
    root = write("Bilder", "index.csv", "image,label", "{n}.png,{c}")
    check, _ = check_site(make_site(root, patient=""))
    (told,) = {f.fix for f in check.all_findings if "if it is the index" in f.fix}
    assert settings_of(told) == {"index": "index.csv", "image": "Bilder/{image}"}


@pytest.mark.parametrize(
    ("folder", "table", "header", "row"),
    [
        ("Bilder", "Mueller.csv", "Bild,Fall", "Bilder/{n}.png,{c}"),  # its name may be a person's
        ("Bilder", "liste.csv", "DOE^JANE,x", "Bilder/{n}.png,{c}"),
        ("Bilder", "liste.csv", "Mueller_Anna,x", "{n},{c}"),  # no header
        ("Mueller_Anna", "liste.csv", "Bild,Befund", "{n}.png,{c}"),
        ("P4711", "liste.csv", "Bild,Befund", "{n}.png,{c}"),
        ("1961-03-02", "liste.csv", "Bild,Befund", "{n}.png,{c}"),
        ("scans/Mueller_Anna", "liste.csv", "Bild,Befund", "{n},{c}"),
    ],
)
def test_no_name_of_a_person_or_day_is_repeated(
    folder: str, table: str, header: str, row: str, write: Writer, make_site: Any
) -> None:
    check, _ = check_site(make_site(write(folder, table, header, row)))
    told = " ".join(f"{finding.what} {finding.fix}" for finding in check.all_findings)
    assert "if it is the index" in told
    assert not re.search("Mueller|DOE|4711|1961", told)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Fall,Befund", "P{n},{c}"),  # no files
        ("Bild,Befund", "elsewhere/{n}.jpg,{c}"),  # none that is there
        ("Bilder/00.png,a", "Bilder/{n}.png,{c}"),  # no header
    ],
)
def test_other_tables_are_not_told_as_an_index(header: str, row: str, write: Writer, make_site: Any) -> None:
    check, _ = check_site(make_site(write("Bilder", "liste.csv", header, row)))
    assert not any("if it is the index" in finding.fix for finding in check.all_findings)


def test_pictures_beside_a_list_without_any_layout(write: Writer, make_site: Any) -> None:
    with pytest.raises(DataError, match=r'DATA-LAYOUT.*set index = "liste.csv", image = "Bild"'):
        read_cohort(make_site(write(".", "liste.csv", "Bild,Befund", "{n}.png,{c}")), study_of_classes())


def test_a_list_of_files_in_very_many_folders_is_told(tmp_path: Path, make_site: Any) -> None:
    for k in range(120):
        for n in range(2):
            path = tmp_path / "data" / f"case{k}" / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    rows = [f"case{k}/{n}.png,a" for k in range(120) for n in range(2)]
    (tmp_path / "data" / "liste.csv").write_text("\n".join(["Bild,Befund", *rows]))
    assert any(
        'set index = "liste.csv", image = "Bild"' in text for text in make_overview(make_site(tmp_path / "data")).warnings
    )
