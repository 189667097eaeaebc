"""A hospital's own results of tests, which lie in its store with what else runs left there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from medfl.runs.case_table import CASES_FILE
from medfl.study import Study
from medfl.system.files import read_json, write_file

TEST_FOLDER = "test"  # in the folder of what a site keeps of a run

_ABOUT_FILE = "about.json"


@dataclass(frozen=True)
class OwnTest:
    """One test: its folder at the hospital, its study and run, and when it was done (ISO time, UTC)."""

    folder: Path
    study: str
    run: str
    time: str
    dimension: int


def describe_test(study: Study, run: str) -> dict[str, object]:
    """Return what a test is of: its study and run, and when it was done."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return {"study": study.name, "run": run, "time": time, "dimension": study.task.dimension}


def write_about(folder: Path, about: Mapping[str, object]) -> None:
    """Write the result of `describe_test` into the folder of a test, for its owner alone."""
    write_file(folder / _ABOUT_FILE, json.dumps(about, indent=1).encode(), private=True)


def list_own_tests(states: Path) -> list[OwnTest]:
    """Return the tests of which a hospital keeps a table of cases, oldest first.

    Parameters
    ----------
    states : Path
        Folder of what its runs left: ``<study>/<run>/test`` each.
    """
    tests = []
    for table in states.glob(f"*/*/{TEST_FOLDER}/{CASES_FILE}"):
        about = read_json(table.parent / _ABOUT_FILE) or {}
        study, run, time = (str(about.get(key, "")) for key in ("study", "run", "time"))
        tests.append(OwnTest(table.parent, study, run, time, 3 if about.get("dimension") == 3 else 2))
    return sorted(tests, key=lambda test: test.time)
