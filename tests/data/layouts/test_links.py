"""Links and what is no file: one rule for every layout, whatever reads its files (docs/layouts.md)."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.overview import make_overview
from medfl.errors import DataError

Save = Callable[[Path], object]  # writes one file
BOX = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
MASK = np.array(BOX > 12, dtype=np.uint8)


def errors(cohort: Cohort) -> Counter[str]:
    return Counter(finding.code for finding in cohort.findings if finding.level == "error")


def make_csv(root: Path, image: Save, mask: Save, n: int) -> None:
    image(root / f"{n}.nii.gz")
    mask(root / f"{n}-mask.nii.gz")
    with (root / "index.csv").open("a") as file:
        file.write(("" if n else "image,label,patient\n") + f"{n}.nii.gz,{n}-mask.nii.gz,p{n}\n")


def make_folders(root: Path, image: Save, mask: Save, n: int) -> None:
    image(root / f"p{n}" / "image.nii.gz")
    mask(root / f"p{n}" / "label.nii.gz")


def make_nnunet(root: Path, image: Save, mask: Save, n: int) -> None:
    image(root / "imagesTr" / f"p{n}_0000.nii.gz")
    mask(root / "labelsTr" / f"p{n}.nii.gz")
    about = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(about))


def make_msd(root: Path, image: Save, mask: Save, n: int) -> None:
    image(root / "imagesTr" / f"p{n}.nii.gz")
    mask(root / "labelsTr" / f"p{n}.nii.gz")
    pairs = [{"image": f"imagesTr/p{k}.nii.gz", "label": f"labelsTr/p{k}.nii.gz"} for k in range(n + 1)]
    (root / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "organ"}, "training": pairs}))


def make_bids(root: Path, image: Save, mask: Save, n: int) -> None:
    image(root / f"sub-{n}" / "anat" / f"sub-{n}_T1w.nii.gz")
    mask(root / "derivatives" / "manual" / f"sub-{n}" / "anat" / f"sub-{n}_mask.nii.gz")
    (root / "dataset_description.json").write_text("{}")


LAYOUTS = {"csv": make_csv, "folders": make_folders, "nnunet": make_nnunet, "msd": make_msd, "bids": make_bids}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def link_to(tmp_path: Path, save_nifti: Any) -> Callable[[str, Any], Save]:
    """Return a maker of links to a file that it puts below a folder of the test."""

    def make(where: str, array: Any) -> Save:
        def save(path: Path) -> None:
            target = save_nifti(tmp_path / where / f"{'-'.join(path.parts[-2:])}", array)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(os.path.relpath(target, path.parent))

        return save

    return make


@pytest.fixture
def files(save_nifti: Any) -> tuple[Save, Save]:
    return lambda path: save_nifti(path, BOX), lambda path: save_nifti(path, MASK)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_link_out_of_the_folder_costs_its_case_in_every_layout(
    layout: str, root: Path, files: tuple[Save, Save], link_to: Any, make_site: Any, make_study: Any
) -> None:
    image, mask = files
    for n, (first, second) in enumerate(
        [(image, mask), (link_to("out", BOX), mask), (image, link_to("out", MASK)), (image, mask)]
    ):
        LAYOUTS[layout](root, first, second, n)
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), errors(cohort)) == (2, {"INDEX-PATH": 2})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_link_inside_the_folder_is_the_file_that_it_leads_to(
    layout: str, root: Path, files: tuple[Save, Save], link_to: Any, make_site: Any, make_study: Any
) -> None:
    image, mask = files
    LAYOUTS[layout](root, image, mask, 0)
    LAYOUTS[layout](root, link_to("data/.git/annex", BOX), link_to("data/.git/annex", MASK), 1)
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), errors(cohort)) == (2, {})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pipe_is_never_opened(layout: str, root: Path, files: tuple[Save, Save], make_site: Any, make_study: Any) -> None:
    image, mask = files

    def pipe(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)

    for n, (first, second) in enumerate([(image, mask), (pipe, mask), (image, pipe), (image, mask)]):
        LAYOUTS[layout](root, first, second, n)
    os.mkfifo(root / "IM0001")
    os.mkfifo(root / "DICOMDIR")
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), sum(errors(cohort).values())) == (2, 2)
    assert make_overview(make_site(root)).layout == layout


@pytest.mark.parametrize("name", ["index.csv", "dataset.json", "classes.json"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_table_is_a_file_of_the_folder(
    name: str, kind: str, root: Path, tmp_path: Path, write_series: Any, make_site: Any, make_study: Any
) -> None:
    write_series(root / "ct")
    (tmp_path / name).write_text("image,label,patient\nct,x,a\n" if name == "index.csv" else '{"CANARY-MRN": "x"}')
    if kind == "pipe":
        os.mkfifo(root / name)
    else:
        (root / name).symlink_to(tmp_path / name)
    layout = {"index.csv": "csv", "dataset.json": "nnunet", "classes.json": "dicom"}[name]
    masks = layout == "nnunet"
    kinds = {} if masks else {"task__kind": "classification", "task__classes": "x,y", "task__modality": "CT"}
    with pytest.raises(DataError) as caught:
        read_cohort(make_site(root, layout=layout, **({"index": name} if layout == "dicom" else {})), make_study(**kinds))
    assert caught.value.code in (("INDEX-PATH",) if kind == "link" else ("INDEX-FORMAT", "INDEX-MISSING"))
    assert str(tmp_path) not in str(caught.value)


def test_folders_behind_links_are_nobodys(
    root: Path, files: tuple[Save, Save], tmp_path: Path, make_site: Any, make_study: Any
) -> None:
    make_folders(root, *files, 0)
    make_folders(tmp_path / "outside", *files, 1)
    (root / "p1").symlink_to(tmp_path / "outside" / "p1")
    (root / "p2").symlink_to("p0")  # the same patient under another name
    (root / "p0" / "loop").symlink_to("..")
    cohort = read_cohort(make_site(root, layout="folders"), make_study())
    assert (len(cohort.cases), errors(cohort)) == (1, {})
    links = [finding.what[:9] for finding in cohort.findings if finding.code == "DATA-LINKS"]
    assert links == ["1 link(s)"]


def test_bids_folders_behind_links_out_of_the_folder(
    root: Path, files: tuple[Save, Save], tmp_path: Path, make_site: Any, make_study: Any
) -> None:
    make_bids(root, *files, 0)
    make_bids(tmp_path / "outside", *files, 1)
    (root / "sub-1").symlink_to(tmp_path / "outside" / "sub-1")
    cohort = read_cohort(make_site(root), make_study())
    assert (len(cohort.cases), errors(cohort)) == (1, {"INDEX-PATH": 1})


def test_hard_links_are_files(root: Path, files: tuple[Save, Save], tmp_path: Path, make_site: Any, make_study: Any) -> None:
    make_folders(tmp_path / "outside", *files, 0)
    shutil.copytree(tmp_path / "outside", root, copy_function=os.link, dirs_exist_ok=True)
    assert len(read_cohort(make_site(root), make_study()).cases) == 1
