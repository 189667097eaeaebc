"""What preparing will take is told before anything is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medfl.data.cohort import read_cohort
from medfl.data.store import forecast as forecast_module
from medfl.data.store.forecast import Forecast
from medfl.data.store.prepare import prepare_cases
from medfl.errors import DiskFullError
from tests.data.store.store_site import forbid_reading, site_of, study_of


def test_forecast_is_what_the_store_takes(tmp_path: Path) -> None:
    site = site_of(tmp_path / "north", 4)
    forecasts: list[Forecast] = []
    prepared = prepare_cases(site, study_of(dtype="float16"), announce=forecasts.append)
    (first,) = forecasts
    assert (first.cases, first.stored, first.unknown, first.exact) == (4, 0, 0, True)
    written = sum(np.asarray(case.image).nbytes + np.asarray(case.label).nbytes for case in prepared.cases)
    assert written == 4 * 8 * 9 * 10 * 3
    assert written == first.size
    prepare_cases(site, study_of(dtype="float16"), announce=forecasts.append)
    assert (forecasts[1].stored, forecasts[1].size) == (4, 0)


def test_forecast_follows_the_spacing(tmp_path: Path) -> None:
    forecasts: list[Forecast] = []
    site = site_of(tmp_path / "north", 1)
    for spacing in ("1,1,2", "0.5,0.5,1"):
        prepare_cases(site, study_of(spacing=spacing), announce=forecasts.append)
    # float32 and uint8; at half the spacing there is one voxel between two, and the mask is kept on its own grid as well
    assert [forecast.size for forecast in forecasts] == [8 * 9 * 10 * 5 + 8 * 9 * 10, 15 * 17 * 19 * 5 + 8 * 9 * 10]


def test_what_cannot_fit_is_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", 4)
    forbid_reading(monkeypatch)
    with pytest.raises(DiskFullError) as caught:
        prepare_cases(site, study_of(), announce=lambda forecast: replace(forecast, free=1).require_space())
    assert caught.value.code == "DISK-FULL"
    assert "1 B are free" in caught.value.what


def test_memory_decides_how_many_cases_are_made_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(tmp_path / "north", 4)
    cases = read_cohort(site, study_of()).cases

    def with_free(size: float) -> int:
        monkeypatch.setattr(forecast_module, "available_memory", lambda: size)
        return forecast_module.max_parallel_cases(cases, study_of(), site, 8)

    assert with_free(1e12) == 4  # no more than there are cases
    assert with_free(1.7e9) == 2
    assert with_free(1e6) == 1
