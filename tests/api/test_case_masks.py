"""Whole masks of a simulated run: predicted again on request, of the cases that its test lists and no others."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import pytest
import tomli_w
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.data.cohort import read_cohort
from medfl.data.simulated_sites import read_simulated_sites
from medfl.runs import Run
from medfl.runs.case_table import CaseResult, CaseTable, StructureResult, write_case_table
from medfl.study import Simulation, StudyApp
from tests.models.images_to_predict import STUDY, labelled_folder
from tests.models.test_trained_model import save_best

LISTED = 2  # of three cases


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run of one hospital, whose test knows two of its cases."""
    hospital = tmp_path / "north"
    labelled_folder(hospital / "images")
    (hospital / "site.toml").write_text(tomli_w.dumps({"name": "north", "data": {"root": "images", "layout": "folders"}}))
    run = Run.create(tmp_path / "runs", StudyApp(STUDY, Simulation(data=(str(hospital),))))
    save_best(run.path, STUDY)
    (site,) = read_simulated_sites(run.app.simulation)
    names = [case.name for case in read_cohort(site, STUDY).cases][:LISTED]
    results = tuple(CaseResult(name, "pat-A", {"organ": StructureResult(0.5, 3.0, 0.9, 2.0, 2.5)}) for name in names)
    run.site_folder("north").mkdir(parents=True)
    write_case_table(run.site_folder("north") / "cases.csv", CaseTable(results, "ml"))
    return run.path


def test_masks_are_written_beside_the_table_when_they_are_asked_for(run: Path) -> None:
    listed = json.loads(CliRunner().invoke(app, ["report", str(run), "--cases", "--json"]).stdout)
    assert [case["mask"] for case in listed] == [""] * LISTED
    done = CliRunner().invoke(app, ["report", str(run), "--cases", "--masks"])
    assert done.exit_code == 0, done.output
    folder = run / "sites" / "north" / "case-masks"
    assert f"Masks: {folder}" in done.output
    assert {path.name for path in folder.glob("*.nii.gz")} == {f"{case['case']}.nii.gz" for case in listed}
    shapes = {nibabel.load(path).shape for path in folder.glob("*.nii.gz")}
    assert shapes < {(12 + k, 10, 9) for k in range(3)}
    page = (run / "cases.html").read_text()
    assert all(f'href="sites/north/case-masks/{case["case"]}.nii.gz"' in page for case in listed)


def test_the_report_that_goes_out_knows_nothing_of_masks(run: Path) -> None:
    assert CliRunner().invoke(app, ["report", str(run), "--masks"]).exit_code == 2
