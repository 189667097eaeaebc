"""Remedies for whoever predicts: readers word theirs for a hospital that trains, with a site.toml and a say in the study."""

from __future__ import annotations

from dataclasses import replace

from medfl.data.data_folder import DataFolder
from medfl.data.findings import Finding
from medfl.data.layouts.unused_files import say_no_images
from medfl.errors import DataError
from medfl.study import Study

_PADDED = "Nothing to do: in training such images were padded as well."


def reword_finding(finding: Finding, data: DataFolder, study: Study) -> Finding:
    """Return a finding with what a person who predicts can do about it."""
    fix = _find_fix(finding.code, data, study)
    return replace(finding, fix=fix) if fix else finding


def reword_error(error: DataError, data: DataFolder, study: Study) -> DataError:
    """Return the error of a data folder with what a person who predicts can do about it."""
    fix = _find_fix(error.code, data, study)
    if not fix:
        return error
    what = error.what.replace(say_no_images(data.site.name), "there is no image for the model here")
    return DataError(error.code, what, fix, error.case)


def _find_fix(code: str, data: DataFolder, study: Study) -> str:
    """Return the remedy of a code; where a site.toml describes the data, that of the reader stays, which names its keys."""
    if code == "PATCH-TOO-BIG":
        return _PADDED
    if data.is_described:
        return ""
    fixes = {
        "DATA-EMPTY": f"Name a folder, table or image of what the model takes: {study.task.modality}.",
        "INDEX-COLUMN": "Call the columns of the table image, label and patient; only the first is needed.",
        "LBL-CLASS": f"To have it scored, write one of {', '.join(study.task.classes)}; the prediction needs no label.",
    }
    return fixes.get(code, "")
