"""`medfl data check` as a hospital meets it: plain words, files for its own eyes, and exit codes that scripts can rely on."""

from __future__ import annotations

import errno
import json
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfl.cli import main
from medfl.site import ensure_secret

SITE = """
name = "north"
[data]
root = "CANARY-FOLDER"
[policy]
min-count = 0
min-cases = 2
max-excluded = {allowed}
"""


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Checker = Callable[..., Done]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checker:
    """Return a runner of the command in this process, in `tmp_path`."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["medfl", "data", "check", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return Done(int(ended.value.code or 0), written.out, written.err)

    return run


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Return the folder of a site with 12 X-rays, one of which is a text and one of which has no label."""
    root = tmp_path / "CANARY-FOLDER"
    root.mkdir()
    rng = np.random.default_rng(0)
    rows = ["image,label,patient"]
    for k in range(12):
        name = f"CANARY-{k}.png"
        Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(root / name)
        rows.append(f"{name},{'' if k == 7 else ('clear', 'nodule')[k % 2]},CANARY-MRN-{k}")
    (root / "CANARY-4.png").write_text("no picture")
    (root / "index.csv").write_text("\n".join(rows))
    ensure_secret(tmp_path / "site.secret")
    (tmp_path / "site.toml").write_text(SITE.format(allowed=0.5))
    return tmp_path


def test_a_check_ends_with_its_counts_and_0(check: Checker, hospital: Path, nodule_study: Path) -> None:
    done = check(hospital / "site.toml", nodule_study)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "10 cases usable, 2 left out (1 IMG-FORMAT, 1 LBL-MISSING)"


def test_a_site_that_would_decline_ends_with_1(check: Checker, hospital: Path, nodule_study: Path) -> None:
    (hospital / "site.toml").write_text(SITE.format(allowed=0.1))
    done = check(hospital, nodule_study)
    assert done.returncode == 1
    assert "[SITE-EXCLUDED] 2 of 12 cases had to be left out" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("10 cases usable, 2 left out")


def test_a_wrong_site_toml_ends_with_2(check: Checker, hospital: Path) -> None:
    (hospital / "site.toml").write_text('name = "north"\n[data]\nrot = "."\n')
    done = check(hospital)
    assert done.returncode == 2
    assert "data.rot: there is no such key here. Did you mean 'root'?" in done.stderr


def test_files_and_terminal_name_no_patient_and_no_path(check: Checker, hospital: Path, nodule_study: Path) -> None:
    done = check(hospital, nodule_study, "-v", "--html", "c.html", "--json", "c.json")
    page, document = (hospital / "c.html").read_text(), (hospital / "c.json").read_text()
    for text in (done.stdout, done.stderr, page, document):
        assert "CANARY" not in text
        assert str(hospital) not in text
    assert stat.S_IMODE((hospital / "c.json").stat().st_mode) == 0o600
    assert json.loads(document)["usable"] == 10
    assert page.count("data:image/png") == 10


def test_verbose_lists_every_finding_with_its_pseudonym(check: Checker, hospital: Path, nodule_study: Path) -> None:
    done = check(hospital, nodule_study, "-v")
    found = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) == 2
    assert all(line.split()[1].startswith("case-") for line in found)
    assert "medfl data whois" in done.stdout


def test_without_a_study_it_says_what_it_assumed(check: Checker, hospital: Path) -> None:
    done = check(hospital, "--fast")
    assert "Classification: column 'label' of the index gives classes." in done.stdout
    assert "Classes: clear, nodule; from the texts of the index." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1")


def test_json_alone_is_printed_and_nothing_else(check: Checker, hospital: Path, nodule_study: Path) -> None:
    result = json.loads(check(hospital, "--json", nodule_study).stdout)
    assert result["study"] == "nodule"
    assert result["summary"].startswith("10 cases usable")


def test_thumbnails_can_be_left_out(check: Checker, hospital: Path, nodule_study: Path) -> None:
    check(hospital, nodule_study, "--html", "c.html", "--no-thumbnails")
    assert "data:image" not in (hospital / "c.html").read_text()


def test_a_folder_that_is_not_there_is_said_and_ends_with_1(check: Checker, hospital: Path) -> None:
    (hospital / "CANARY-FOLDER").rename(hospital / "elsewhere")
    done = check(hospital, "--html", "c.html")
    assert done.returncode == 1
    assert "[DATA-ROOT]" in done.stdout
    assert "Traceback" not in done.stderr
    assert "CANARY" not in (hospital / "c.html").read_text()


def test_without_any_word_it_tells_what_is_missing(check: Checker) -> None:
    done = check()
    assert done.returncode == 2
    assert "Missing argument" in done.stderr


def test_a_study_may_be_named_by_its_file(check: Checker, hospital: Path, nodule_study: Path) -> None:
    assert check(hospital, nodule_study / "pyproject.toml", "--fast").stdout.splitlines()[-1].startswith("10 cases usable")


@pytest.mark.parametrize("word", ["y.txt", "hippo"])
def test_a_word_after_json_that_is_no_json_file_is_named(check: Checker, hospital: Path, word: str) -> None:
    done = check(hospital, "--json", word)
    assert done.returncode == 2
    assert f"'{word}' is no study; a file for --json must end in .json." in " ".join(done.stderr.replace("│", " ").split())


def test_a_full_disk_leaves_nothing_and_asks_for_no_run(
    check: Checker, hospital: Path, nodule_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    done = check(hospital, nodule_study, "--fast", "--html", "reports/r.html")
    assert "[DISK-FULL]" in done.stderr
    assert "start the run again" not in done.stderr
    assert list((hospital / "reports").iterdir()) == []


def test_the_modality_is_the_studys_where_there_is_one(check: Checker, hospital: Path, nodule_study: Path) -> None:
    assert check(hospital, nodule_study, "--modality", "CT").returncode == 2
    done = check(hospital, "--modality", "US", "--fast")
    assert "US: chosen by '--modality'" in done.stdout


def test_each_split_is_told_with_its_cases_and_patients(check: Checker, hospital: Path, nodule_study: Path) -> None:
    line = next(line for line in check(hospital, nodule_study).stdout.splitlines() if line.startswith("Splits: "))
    counts = re.findall(r"(train|validation|test) (\d+) cases? of (\d+) patients?", line)
    assert [name for name, _, _ in counts] == ["train", "validation", "test"]
    assert sum(int(cases) for _, cases, _ in counts) == 10


def test_one_case_is_one_case(check: Checker, hospital: Path, nodule_study: Path) -> None:
    rows = (hospital / "CANARY-FOLDER" / "index.csv").read_text().splitlines()
    (hospital / "CANARY-FOLDER" / "index.csv").write_text("\n".join(rows[:2]))
    assert check(hospital, nodule_study).stdout.splitlines()[-1] == "1 case usable, 0 left out"


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_read(
    check: Checker, hospital: Path, option: str
) -> None:
    (hospital / "folder.json").mkdir()
    (hospital / "file").touch()
    for place, why in (("folder.json", "is a folder"), ("file/c.json", "is no folder")):
        done = check(hospital / "site.toml", option, place)
        assert done.returncode == 2
        assert why in " ".join(re.sub("[│╭╰─╯╮]", " ", done.stderr).split())
