"""The folder of predictions: files outside, masks that were cut and false names of cases count for nothing in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medfl.errors import RunError
from medfl.models.prediction_folder import CaseRecord, PredictionFolder
from medfl.runs.case_table import CaseResult

CASE, OTHER = "case-AAAAAAAAAA", "case-BBBBBBBBBB"
ABOUT = {"model": "threshold", "data": "data-A"}


def fill(folder: Path) -> Path:
    """Write a folder with a mask for each of two cases, and return it."""
    with PredictionFolder(folder, ABOUT) as made:
        for case in (CASE, OTHER):
            (folder / f"{case}.nii.gz").write_bytes(b"mask")
            made.add(CaseRecord(CaseResult(case, "pat-1"), "key", (f"{case}.nii.gz",)))
    return folder


def change_record(folder: Path, change: Any) -> None:
    """Change the record of the first case as somebody with an editor may."""
    file = folder / "cases" / f"{CASE}.json"
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def is_done(folder: Path, case: str = CASE, key: str = "key") -> bool:
    with PredictionFolder(folder, ABOUT) as opened:
        return opened.find(case, key) is not None


def test_what_was_written_is_found_again_if_it_is_of_the_same_content(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    assert is_done(folder)
    assert not is_done(folder, key="other content")
    assert not is_done(folder, "case-CCCCCCCCCC")


@pytest.mark.parametrize("content", [None, b"", b"mas", b"mask and more"])
def test_a_mask_that_is_gone_or_of_another_size_is_not_done(content: bytes | None, tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    mask = folder / f"{CASE}.nii.gz"
    mask.unlink()
    if content is not None:
        mask.write_bytes(content)
    assert not is_done(folder)
    assert is_done(folder, OTHER)


@pytest.mark.parametrize("name", ["../outside.dcm", "{outside}", "cases/x.json", "..", "", "prediction.json", "a\0b", 7])
def test_a_record_names_files_in_the_folder_alone(name: Any, tmp_path: Path) -> None:
    folder, outside = fill(tmp_path / "out"), tmp_path / "outside.dcm"
    outside.write_bytes(b"mask")
    named = name.format(outside=outside) if isinstance(name, str) else name
    change_record(folder, lambda values: values.update(files=[named]))
    assert not is_done(folder)
    with PredictionFolder(folder, ABOUT, again=True):
        assert outside.is_file()
        assert (folder / "prediction.json").is_file()


def test_a_record_is_about_the_case_that_its_file_is_named_after(tmp_path: Path) -> None:
    folder, victim = fill(tmp_path / "out"), tmp_path / "victim.json"
    victim.write_text("{}")
    for case in ("../../victim", OTHER):
        change_record(folder, lambda values, case=case: values["result"].update(case=case))
        assert not is_done(folder)
        with PredictionFolder(folder, ABOUT) as opened:
            assert [record.result.case for record in opened.records] == [OTHER]
    with PredictionFolder(folder, ABOUT, again=True):
        assert victim.is_file()


def test_what_is_of_other_cases_is_removed_with_its_files(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    with PredictionFolder(folder, ABOUT) as opened:
        assert opened.remove_others([CASE]) == (OTHER,)
        assert opened.remove_others([CASE]) == ()
    assert {path.name for path in folder.rglob(f"{OTHER}*")} == set()
    assert is_done(folder)


def test_predictions_of_something_else_are_refused_in_words_that_say_what(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out")
    for about, what in ((ABOUT | {"data": "data-B"}, "data"), (ABOUT | {"model": "other"}, "models or options")):
        with pytest.raises(RunError, match=rf"PRED-OUT.*predictions of other {what}\. .*--again"):
            PredictionFolder(folder, about)
    assert is_done(folder)
    (folder / "prediction.json").write_text("{")
    with pytest.raises(RunError, match="PRED-OUT"):
        PredictionFolder(folder, ABOUT)
