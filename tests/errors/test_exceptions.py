"""Errors of a hospital: what of them the server may read."""

from __future__ import annotations

import pickle

import pytest

from medfl.errors import ConfigError, DataError, DiskFullError, MedflError, Problem, safe_reason


@pytest.mark.parametrize(
    "error",
    [
        DataError("NII-TRUNCATED", "/data/DOE_JANE/scan.nii.gz ends early", "Copy it.", "case-AB"),
        FileNotFoundError("/data/DOE_JANE/scan.nii.gz"),
        ValueError("PatientName DOE^JANE"),
    ],
)
def test_no_text_of_an_error_reaches_the_server(error: Exception) -> None:
    assert "DOE" not in safe_reason(error)
    assert "case-AB" not in safe_reason(error)


def test_the_code_of_our_own_errors_does() -> None:
    assert safe_reason(DiskFullError("DISK-FULL", "needs 3 GB")).startswith("[DISK-FULL]")


def test_errors_survive_the_way_between_processes() -> None:
    error = ConfigError([Problem("pyproject.toml", "rounds", "came 'two'.")])
    assert pickle.loads(pickle.dumps(error)).problems == error.problems
    data = DataError("IMG-NAN", "3 voxels are not numbers.", "Convert again.", "case-AB")
    assert str(pickle.loads(pickle.dumps(data))) == "[IMG-NAN] case-AB: 3 voxels are not numbers. Convert again."


def test_everything_raised_on_purpose_has_one_base() -> None:
    assert issubclass(DiskFullError, DataError)
    assert issubclass(ConfigError, MedflError)
