"""`medfl data index` shows numbers only; `medfl data whois` is the one command that shows who a patient is."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.data.cohort import read_cohort
from medfl.data.index import file_index as module
from medfl.data.quality.site_check import check_site
from medfl.data.store.prepare import prepare_cases
from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.errors import DataError
from medfl.site import read_site
from medfl.study import read_study


@pytest.fixture
def site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the site.toml of a hospital with two images."""
    from pydicom.data import get_testdata_file

    monkeypatch.setattr(module, "_SETTLED", 0)
    root = tmp_path / "CANARY-HOSPITAL" / "data"
    root.mkdir(parents=True)
    for name in ("CT_small.dcm", "MR_small.dcm"):
        found = get_testdata_file(name, download=False)
        assert isinstance(found, str)
        (root / f"CANARY-{name}").write_bytes(Path(found).read_bytes())
    (root / "CANARY.nii").write_bytes(b"volume")
    (root / "bare").write_bytes((root / "CANARY-CT_small.dcm").read_bytes()[132:])
    (root / "cut").write_bytes(bytes(128) + b"DICM")
    file = root.parent / "site.toml"
    file.write_text('name = "north"\n[data]\nroot = "data"\n[resources]\nstore = "../store"\n')
    return file


def run(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["data", *map(str, words)])


def test_index_counts_and_names_nothing(site_file: Path) -> None:
    done = run("index", site_file, "--json")
    found = json.loads(done.stdout)
    assert {key: found[key] for key in ("layout", "files", "nifti", "headerless", "unreadable", "other", "opened")} == {
        "layout": "dicom",
        "files": 5,
        "nifti": 1,
        "headerless": 1,
        "unreadable": 1,
        "other": 0,
        "opened": 4,
    }
    assert found["dicom"]["CT"] == {"files": 1, "series": 1, "studies": 1, "patients": 1}
    again = run("index", site_file)
    assert "5 files in" in again.stdout
    assert "0 were opened" in again.stdout
    for output in (done.output, again.output):
        assert not any(word in output for word in ("CANARY", "CompressedSamples", "1CT1", str(site_file.parent)))


def test_an_empty_folder_has_no_layout(site_file: Path) -> None:
    for path in (site_file.parent / "data").iterdir():
        path.unlink()
    assert "none that medfl knows" in run("index", site_file).stdout


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    folder = make_nodule_images(tmp_path / "hospitals", hospitals=1, patients=4, seed=1)
    return next(path.parent for path in folder.rglob("site.toml"))


def test_whois_tells_the_files_behind_a_pseudonym(hospital: Path, nodule_study: Path, tmp_path: Path) -> None:
    site, study = read_site(hospital), read_study(nodule_study)
    case = read_cohort(site, study).cases[0]
    for name in (case.name, case.patient):
        done = run("whois", name, hospital / "site.toml")
        assert done.exit_code == 0, done.output
        assert str(case.image.paths[0]) in done.stdout
        assert "usable" in done.stdout
        assert "identifies a patient" in done.stderr
    assert stat.S_IMODE(next((tmp_path / "store").rglob("index.sqlite")).stat().st_mode) == 0o600


def test_whois_says_that_a_case_was_looked_at_without_a_study(hospital: Path) -> None:
    check, _ = check_site(read_site(hospital))
    shown = run("whois", check.cases[0].case, hospital).stdout
    assert "  no study  " in shown.splitlines()[0]
    assert "survey" not in shown


def test_whois_knows_what_was_left_out_and_forgets_what_is_gone(hospital: Path, nodule_study: Path) -> None:
    site, study = read_site(hospital), read_study(nodule_study)
    before = read_cohort(site, study).cases
    before[0].image.paths[0].unlink()
    read_cohort(site, study)
    assert "IMG-MISSING" in run("whois", before[0].name, hospital).stdout
    index = site.root / site.data.index
    index.write_text("\n".join(index.read_text().splitlines()[:3]))
    left = {case.name for case in read_cohort(site, study).cases}
    gone = [run("whois", case.name, hospital).exception for case in before[1:] if case.name not in left]
    assert gone
    assert all(isinstance(error, DataError) and error.code == "WHOIS-UNKNOWN" for error in gone)
    assert run("whois", "Doe", hospital).exit_code == 2


def test_whois_knows_what_reading_the_pixels_showed(hospital: Path, nodule_study: Path) -> None:
    site, study = read_site(hospital), read_study(nodule_study)
    case = read_cohort(site, study).cases[0]
    assert "its files were not read then" in run("whois", case.name, hospital).stdout
    for reader in (lambda: prepare_cases(site, study), lambda: check_site(site, study)):
        reader()
        assert case.patient + f"  study {study.name}  usable\n" in run("whois", case.name, hospital).stdout
    path = case.image.paths[0]
    path.write_bytes(path.read_bytes()[:200])
    check_site(site, study)
    assert "IMG-" in run("whois", case.name, hospital).stdout.splitlines()[0]
    read_cohort(site, study)  # listing the same files again forgets nothing
    assert "IMG-" in run("whois", case.name, hospital).stdout.splitlines()[0]
