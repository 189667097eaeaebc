"""The walk of docs/getting-started.md: its commands, one after the other, on made-up pictures and with few rounds."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medfl.study import read_study
from tests.data_folders import MAKERS

PAGE = (Path(__file__).parents[1] / "docs" / "getting-started.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
WALK = [shlex.split(line) for block in BLOCKS for line in block.splitlines() if line.startswith("medfl ")]


def test_the_walk_goes_from_a_study_to_predictions_and_a_bundle() -> None:
    steps = [" ".join(words[1:3]) for words in WALK]
    assert steps == ["study new", "study check", "simulate my-study", "runs", "predict RUN", "study bundle"]


@pytest.mark.slow
def test_each_command_of_the_page_works_in_its_turn(tmp_path: Path) -> None:
    MAKERS["pictures"](tmp_path / "pictures")
    shutil.copytree(tmp_path / "pictures" / "scans", tmp_path / "new-pictures")
    for words in WALK:
        run = next((path.name for path in (tmp_path / "runs").glob("*/*") if path.is_dir()), "")
        few = ["-c", "rounds=1"] if words[1] == "simulate" else []
        command = [sys.executable, "-m", "medfl", *(run if word == "RUN" else word for word in words[1:]), *few]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, (words, done.stderr)
    assert read_study(tmp_path / "my-study").task.classes == ("sick", "well")
    with (tmp_path / "predictions" / "cases.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 24
    assert (tmp_path / "my-study.fab").is_file()
