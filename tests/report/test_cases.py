"""`medfl report --cases`: who failed and how, worst first, for eyes at the hospital alone."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.data.store.cache_key import STATE_FOLDER, site_root
from medfl.report.case_page import render_case_page, write_case_page
from medfl.report.case_sources import open_cases
from medfl.report.overlays import read_overlay
from medfl.runs.case_table import CaseResult, CaseTable, StructureResult, picture_of, write_case_table
from medfl.runs.own_tests import TEST_FOLDER, describe_test, write_about
from medfl.site import read_site
from tests.models import images_to_predict
from tests.report.pages import Reader, page_of

Make = Callable[..., Any]
runner = CliRunner()


def segmented(case: str, *dice: float, missed: bool = False) -> CaseResult:
    names = ("oedema", "core")[: len(dice)]
    sizes = (0.0, 2.5) if missed else (2.0, 2.5)
    found = {name: StructureResult(value, 3.0, 0.9, *sizes) for name, value in zip(names, dice, strict=True)}
    return CaseResult(case, f"pat-{case[-1]}", found)


def classified(case: str, share: float) -> CaseResult:
    said = "nodule" if share >= 0.5 else "clear"
    return CaseResult(case, f"pat-{case[-1]}", {}, "nodule", said, {"clear": 1 - share, "nodule": share})


def keep(folder: Path, *results: CaseResult, unit: Any = "ml", pictures: tuple[str, ...] = ()) -> Path:
    """Write the table of a test with pictures of some of its cases."""
    folder.mkdir(parents=True, exist_ok=True)
    file = write_case_table(folder / "cases.csv", CaseTable(results, unit))
    for case in pictures:
        picture_of(file, case).parent.mkdir(exist_ok=True)
        mask = np.eye(8, dtype=np.uint8)
        np.savez(picture_of(file, case), image=np.zeros((8, 8), np.float32), truth=mask, prediction=mask, dice=0.1)
    return file


@pytest.fixture
def run(make: Make) -> Path:
    maker = make("segmentation", "background,oedema,core", sites={"a": (4, 1, 2), "b": (4, 1, 1)}, rounds=1)
    keep(maker.run.site_folder("a"), segmented("case-A", 0.9, 0.8), segmented("case-B", 0.0, 0.0, missed=True))
    keep(maker.run.site_folder("b"), segmented("case-C", 0.5, 0.3), pictures=("case-C",))
    keep(maker.run.site_folder("a") / "personal", segmented("case-A", 0.95, 0.9))
    return Path(maker.end())


def test_cases_of_all_hospitals_are_listed_worst_first_with_what_went_wrong(run: Path) -> None:
    collection = open_cases(run)
    assert [result.case for _, result in collection.worst_first()] == ["case-B", "case-C", "case-A"]
    assert [source.site for source, _ in collection.worst_first(personal=True)] == ["a"]
    reader = Reader(render_case_page(collection))
    assert reader.text.index("case-B") < reader.text.rindex("case-C") < reader.text.index("case-A")
    assert "missed oedema; missed core" in reader.text
    assert "The hospitals’ own models" in reader.text
    assert reader.open == []
    assert len(reader.addresses) == 3
    assert all(address.startswith("data:image/png") for address in reader.addresses)


def test_the_page_is_private_and_says_that_it_must_stay(run: Path) -> None:
    page = write_case_page(open_cases(run))
    assert page == run / "cases.html"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "must stay on this machine" in page.read_text()


def test_the_report_itself_names_no_case(run: Path) -> None:
    page, _ = page_of(run)
    assert "case-" not in page.split("</style>")[1]
    assert "pat-" not in page.split("</style>")[1]


def test_the_command_lists_the_worst_and_names_its_files(run: Path) -> None:
    done = runner.invoke(app, ["report", str(run), "--cases"])
    assert done.exit_code == 0, done.output
    assert done.stdout.index("case-B") < done.stdout.index("case-C") < done.stdout.index("case-A")
    assert f"Page: {run / 'cases.html'}" in done.stdout
    assert str(run / "sites" / "a" / "cases.csv") in done.stdout
    listed = json.loads(runner.invoke(app, ["report", str(run), "--cases", "--json"]).stdout)
    assert [(each["case"], each["model"]) for each in listed] == [
        ("case-B", "shared"),
        ("case-C", "shared"),
        ("case-A", "shared"),
        ("case-A", "personal"),
    ]
    assert listed[0]["structures"]["core"] == {"dice": 0.0, "hd95": 3.0, "surface_dice": 0.9, "predicted": 0.0, "true": 2.5}


@pytest.mark.parametrize("kind", ["one structure", "classification", "no truth"])
def test_predictions_are_listed_in_the_same_way(tmp_path: Path, kind: str) -> None:
    results = {
        "one structure": (segmented("case-A", 0.9), segmented("case-B", 0.2)),
        "classification": (classified("case-A", 0.9), classified("case-B", 0.2)),
        "no truth": (CaseResult("case-A", "pat-A", {"core": StructureResult(predicted=4.0)}),),
    }[kind]
    file = keep(tmp_path, *results, unit="px")
    text = Reader(render_case_page(open_cases(tmp_path))).text
    assert open_cases(file).worst_first()[0][1].case == results[-1].case
    expected = {"one structure": "Predicted, px", "classification": "wrong class", "no truth": "4.0"}[kind]
    assert expected in text
    assert "nan" not in text


def test_names_of_predictions_lead_to_their_masks(tmp_path: Path) -> None:
    images_to_predict.save(tmp_path / "data" / "a.nii.gz", images_to_predict.grey(images_to_predict.cube()))
    found = images_to_predict.predict(tmp_path / "data", tmp_path / "out")
    mask = tmp_path / "out" / f"{found.cases[0]}.nii.gz"
    page = tmp_path / "elsewhere" / "page.html"
    page.parent.mkdir()
    done = runner.invoke(app, ["report", str(tmp_path / "out"), "--cases", "--masks", "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert f"Masks: {tmp_path / 'out'}" in done.stdout
    assert f"Page: {page}" in done.stdout
    (address,) = (one for one in Reader(page.read_text()).addresses if not one.startswith("data:"))
    assert (page.parent / address).resolve() == mask.resolve()
    listed = json.loads(runner.invoke(app, ["report", str(tmp_path / "out"), "--cases", "--json"]).stdout)
    assert [each["mask"] for each in listed] == [str(mask)]
    mask.unlink()
    assert json.loads(runner.invoke(app, ["report", str(tmp_path / "out"), "--cases", "--json"]).stdout)[0]["mask"] == ""


def test_there_are_no_masks_of_classes(tmp_path: Path) -> None:
    keep(tmp_path, classified("case-A", 0.1))
    done = runner.invoke(app, ["report", str(tmp_path), "--cases", "--masks"])
    assert "CASES-MISSING" in str(done.exception)
    assert "classes" in str(done.exception)


def test_pictures_of_classified_images_are_shown_without_masks(tmp_path: Path) -> None:
    keep(tmp_path, classified("case-A", 0.1), pictures=("case-A",))
    reader = Reader(render_case_page(open_cases(tmp_path)))
    assert len(reader.addresses) == 1
    assert "nodule, called clear; 0.10 for the truth" in reader.text


def test_a_damaged_picture_costs_the_picture_alone(run: Path) -> None:
    (picture,) = run.glob("sites/*/case-pictures/*.npz")
    picture.write_bytes(b"PK")
    assert read_overlay(picture, 3) is None
    assert "case-C" in render_case_page(open_cases(run))


@pytest.fixture
def hospital(nodule_hospitals: Path, make: Make) -> Path:
    """Return the site.toml of a hospital that tested the models of two runs."""
    site = read_site(nodule_hospitals / "hospital-1")
    study = make("classification", "clear,nodule").study
    times = iter(("2026-05-01T10:00:00", "2026-06-01T10:00:00"))
    for name, share in (("run-1", 0.9), ("run-2", 0.2)):
        folder = site_root(site) / STATE_FOLDER / "hash" / name / TEST_FOLDER
        keep(folder, classified("case-A", share))
        write_about(folder, describe_test(study, name) | {"time": next(times)})
    return site.folder / "site.toml"


def test_a_hospital_sees_its_newest_test_or_the_one_that_it_names(hospital: Path) -> None:
    for path in (hospital, hospital.parent):
        ((source, result),) = open_cases(path).worst_first()
        assert (source.site, result.score) == ("hospital-1", 0.2)
    assert open_cases(hospital, "run-1").worst_first()[0][1].score == 0.9
    done = runner.invoke(app, ["report", str(hospital), "--cases", "--run", "run-1"])
    assert done.exit_code == 0, done.output
    assert f"medfl data whois CASE {hospital}" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{site}", "--cases", "--run", "run-9"), "It has tested one in run-1 and run-2."),
        (("{run}", "--cases"), "medfl report --cases SITE.toml"),
        (("{empty}", "--cases"), "there is no table of cases here"),
    ],
)
def test_where_there_is_no_table_the_command_says_where_one_may_be(
    hospital: Path, make: Make, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    places = {"{site}": hospital, "{run}": make("segmentation", "background,core").end(), "{empty}": tmp_path / "store"}
    done = runner.invoke(app, ["report", *(str(places.get(word, word)) for word in words)])
    assert done.exit_code == 1
    assert said in str(done.exception)
    assert done.exception.code == "CASES-MISSING"  # type: ignore[union-attr]


def test_options_that_do_not_go_together_are_refused(run: Path) -> None:
    for words in (["--csv", "--json"], ["--csv", "--cases"], ["--run", "run-1"]):
        assert runner.invoke(app, ["report", str(run), *words]).exit_code == 2
