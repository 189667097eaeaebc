"""`medfl data pull`, as people and scripts use it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.data.pacs.pull import is_allowed
from medfl.data.pacs.series_query import SeriesInfo, SeriesQuery
from medfl.errors import ConfigError
from medfl.site.pacs import PacsQuery
from tests.data.pacs.fake_pacs import FakePacs


def run(site: Any, *options: str) -> Any:
    return CliRunner().invoke(app, ["data", "pull", str(site.folder), *options])


def test_a_dry_run_counts_by_modality(pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    done = run(pacs_site(**start(pacs)), "--dry-run")
    assert done.exit_code == 0, done.output
    assert ["CT", "1", "9"] in [line.split() for line in done.output.splitlines()]
    assert "2 would come, 10 images" in done.output


def test_scripts_get_json_and_an_exit_code_when_a_series_is_incomplete(
    pacs: FakePacs, start: Any, pacs_site: Any, archive: Any
) -> None:
    pacs.lost[archive.datasets[0].SeriesInstanceUID] = 1
    site = pacs_site(**start(pacs), retries=0)
    done = run(site, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert report["found"] == {"CT": {"series": 1, "images": 9}, "SEG": {"series": 1, "images": 1}}
    assert [problem["code"] for problem in report["problems"]] == ["PACS-INCOMPLETE"]
    done = run(site)
    assert done.exit_code == 1
    assert "8 of 9 images arrived" in done.output
    pacs.lost.clear()
    done = run(site)
    assert (done.exit_code, "1 series is here already; 1 came, 9 images" in done.output) == (0, True)


def test_a_site_without_a_pacs_says_so(pacs_site: Any) -> None:
    site = pacs_site(kind="dimse", host="127.0.0.1", port=1, ae_title="PACS")
    (site.folder / "site.toml").write_text('name = "north"\n')
    with pytest.raises(ConfigError, match="pacs: this table is required"):
        CliRunner().invoke(app, ["data", "pull", str(site.folder)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("hours", "hour", "allowed"),
    [("", 12, True), ("19-06", 18, False), ("19-06", 19, True), ("19-06", 5, True), ("19-06", 6, False), ("08-17", 8, True)],
)
def test_allowed_hours_may_go_over_midnight(hours: str, hour: int, allowed: bool) -> None:
    assert is_allowed(hours, datetime(2024, 5, 1, hour, 59)) is allowed


@pytest.mark.parametrize(
    ("dates", "date", "taken"),
    [
        ("20240101-20241231", "20241231", True),
        ("20240101-20241231", "20250101", False),
        ("20240101-", "20250101", True),
        ("20240101-", "20231231", False),
        ("-20241231", "20231231", True),
        ("-20241231", "20250101", False),
        ("20240615", "20240615", True),
        ("20240615", "20240616", False),
        ("20240615", "", True),  # the PACS does not say
    ],
)
def test_dates_are_checked_again_at_the_site(dates: str, date: str, taken: bool) -> None:
    query = SeriesQuery(PacsQuery(modalities=("CT",), study_dates=dates))
    assert bool(query.select([SeriesInfo("1", "2", "CT", 3, date=date)])) is taken


def test_labels_are_selected_with_the_studies_of_selected_images() -> None:
    query = SeriesQuery(PacsQuery(modalities=("ct", "SEG"), study_dates="20240101", descriptions=("*thin*",)))
    offered = [
        SeriesInfo("1", "1.1", "CT", 3, description="Thin axial"),
        SeriesInfo("1", "1.2", "SEG", 1, description="liver"),
        SeriesInfo("2", "2.1", "CT", 3, description="thick"),
        SeriesInfo("2", "2.2", "SEG", 1),
        SeriesInfo("1", "1.1", "CT", 3, description="Thin axial"),
        SeriesInfo("1", "1.3", "SR", 1),
    ]
    assert [series.series for series in query.select(offered)] == ["1.1", "1.2"]
    only_labels = SeriesQuery(PacsQuery(modalities=("SEG",), study_dates="20240101"))
    assert [series.series for series in only_labels.select(offered)] == ["1.2", "2.2"]


def test_nothing_that_identifies_is_in_a_repr() -> None:
    assert repr(SeriesInfo("1.2.3", "1.2.4", "CT", 3, patient="CANARY", accession="CANARY", date="20240101")) == (
        "SeriesInfo(modality='CT', expected=3)"
    )
