"""A fast check refuses the masks that the whole check refuses for their names, which tables and headers give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Source
from medfl.data.dicom.series import read_series
from medfl.data.quality.label_names import check_label_names
from medfl.data.quality.site_check import check_site
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study
from tests.data.dicom.drawing import write_rtstruct

IMAGE = np.arange(1716, dtype=np.int16).reshape(11, 12, 13)
MASK = np.zeros(IMAGE.shape, np.uint8)
MASK[2:5, 2:5, 2:5] = 1


def compare(site: Site, study: Study) -> tuple[dict[str, int], dict[str, int]]:
    """Return the reasons for which cases are left out by a fast and by a whole check."""
    fast, whole = (check_site(site, study, fast=fast)[0] for fast in (True, False))
    return dict(Counter(fast.count_exclusions())), dict(Counter(whole.count_exclusions()))


@pytest.mark.parametrize(
    ("names", "settings", "by_fast", "by_whole"),
    [
        ({1: "Anterior", 2: "Posterior"}, {}, True, True),
        ({1: "Lesion", 2: "Posterior"}, {}, False, False),  # 2 does not occur
        ({1: "Anterior", 2: "Lesion"}, {}, False, True),  # which of them occurs is known from the pixels alone
        ({1: "Anterior"}, {"label_names": (("anterior", "lesion"),)}, False, False),
        ({1: "Anterior"}, {"label_names": (("*", "background"),)}, False, False),
        ({1: "Lesion", 5: "ignore"}, {}, False, False),
        ({0: "Background", 1: "Lesion"}, {}, False, False),
    ],
)
def test_names_of_values(
    names: dict[int, str],
    settings: dict[str, Any],
    by_fast: bool,
    by_whole: bool,
    tmp_path: Path,
    make_site: Any,
    make_study: Any,
    save_nifti: Any,
) -> None:
    root = tmp_path / "data"
    save_nifti(root / "sub-01/anat/sub-01_T1w.nii.gz", IMAGE)
    save_nifti(root / "derivatives/m/sub-01/anat/sub-01_dseg.nii.gz", MASK)
    (root / "dataset_description.json").write_text("{}")
    rows = "".join(f"{value}\t{name}\n" for value, name in names.items())
    (root / "dseg.tsv").write_text(f"index\tname\n{rows}")
    found = compare(make_site(root, **settings), make_study(task__classes="background,lesion"))
    assert ["LBL-CLASSNAME" in codes for codes in found] == [by_fast, by_whole]


@pytest.mark.parametrize(("names", "refused"), [(["Lesion"], False), (["Lesion", "Other"], False), (["GTV", "Other"], True)])
def test_names_of_contours(
    names: list[str],
    refused: bool,
    tmp_path: Path,
    make_site: Any,
    make_study: Any,
    write_series: Callable[..., list[Path]],
) -> None:
    path = tmp_path / "rt.dcm"
    write_rtstruct(path, write_series(tmp_path / "ct"), {name: [] for name in names})
    study = make_study(task__classes="background,lesion", task__modality="CT")
    try:
        check_label_names(Source("dicom", (path,)), study, make_site(tmp_path))
        found = ""
    except DataError as error:
        found = error.code
    assert found == ("LBL-CLASSNAME" if refused else "")


@pytest.mark.parametrize(("name", "refused"), [("Lesion", 0), ("Anterior", 1)])
def test_segments(
    name: str,
    refused: int,
    tmp_path: Path,
    make_site: Any,
    make_study: Any,
    write_series: Callable[..., list[Path]],
    save_seg: Callable[..., Path],
) -> None:
    series = write_series(tmp_path / "data" / "ct")
    marked = np.zeros(read_series(series).shape, bool)
    marked[1:4, 1:3, 2:6] = True
    save_seg(tmp_path / "data" / "seg.dcm", series, {name: marked})
    study = make_study(task__classes="background,lesion", task__modality="CT")
    fast, whole = compare(make_site(tmp_path / "data"), study)
    assert fast == whole == ({"LBL-CLASSNAME": refused} if refused else {})
