"""`medfl data prepare` and `medfl data purge`, as a hospital runs them."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from medfl.cli import app as cli
from medfl.data.store import case_cache as case_cache_module
from medfl.data.store import forecast as forecast_module
from medfl.site import ensure_secret


@pytest.fixture
def hospital(nodule_hospitals: Path) -> Path:
    site = sorted(nodule_hospitals.glob("*/site.toml"))[0].parent
    ensure_secret(site / "site.secret")
    return site


def medfl(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["medfl", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_prepare_says_what_it_takes_and_ends_with_what_is_usable(
    hospital: Path, nodule_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert medfl("data", "prepare", hospital, nodule_study, "--check", monkeypatch=monkeypatch) == 1
    assert "STORE-STALE" in capsys.readouterr().err
    assert medfl("data", "prepare", hospital / "site.toml", nodule_study, monkeypatch=monkeypatch) == 0
    first = printed(capsys)
    assert "0 of them in the store" in first
    assert "B are free" in first
    assert "0 left out." in first
    count = int(first.split(" cases,")[0])
    assert f"{count} cases usable" in first
    assert medfl("data", "prepare", hospital, nodule_study, "--check", "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["current"] == count
    assert medfl("data", "prepare", hospital, nodule_study, monkeypatch=monkeypatch) == 0
    assert f"{count} of them in the store" in printed(capsys)


def test_too_much_left_out_ends_with_1_and_the_reasons(
    hospital: Path, nodule_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (hospital / "site.toml").read_text()
    (hospital / "site.toml").write_text(text.replace("max-excluded = 1.0", "max-excluded = 0.1"))
    images = sorted(hospital.rglob("*.png"))
    for image in images[: len(images) // 2]:
        image.write_bytes(b"no image")
    assert medfl("data", "prepare", hospital, nodule_study, "--json", monkeypatch=monkeypatch) == 1
    captured = capsys.readouterr()
    summary: dict[str, Any] = json.loads(captured.out)
    assert summary["left_out"] == len(images) // 2
    assert summary["usable"] == len(images) - len(images) // 2
    assert sum(summary["left_out_by_code"].values()) == summary["left_out"]
    assert "SITE-EXCLUDED" in captured.err
    assert not any(image.name in captured.out + captured.err for image in images)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_read(
    hospital: Path, nodule_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(hospital)
    monkeypatch.setattr(forecast_module.shutil, "disk_usage", lambda _: usage._replace(free=1))
    monkeypatch.setattr(case_cache_module, "load_case", None)
    assert medfl("data", "prepare", hospital, nodule_study, monkeypatch=monkeypatch) == 1
    assert "[DISK-FULL]" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done(
    hospital: Path, nodule_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load, read = case_cache_module.load_case, []

    def interrupted(*arguments: Any) -> Any:
        read.append(1)
        if len(read) == 3:
            raise KeyboardInterrupt
        return load(*arguments)

    monkeypatch.setattr(case_cache_module, "load_case", interrupted)
    assert medfl("data", "prepare", hospital, nodule_study, monkeypatch=monkeypatch) == 130
    assert "go on" in capsys.readouterr().err
    read.append(1)  # not again
    assert medfl("data", "prepare", hospital, nodule_study, monkeypatch=monkeypatch) == 0
    assert "2 of them in the store" in printed(capsys)


def test_purge_asks_first_and_keeps_what_is_named(
    hospital: Path, nodule_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert medfl("data", "prepare", hospital, nodule_study, monkeypatch=monkeypatch) == 0
    arrays = len(list((tmp_path / "store").rglob("image.npy")))
    assert arrays > 0
    assert medfl("data", "purge", hospital, "--keep", nodule_study, monkeypatch=monkeypatch) == 0
    assert "nothing to remove" in printed(capsys)
    assert medfl("data", "purge", hospital, "--dry-run", monkeypatch=monkeypatch) == 0
    assert "nodule" in printed(capsys)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert medfl("data", "purge", hospital, monkeypatch=monkeypatch) == 1  # nobody is there to say yes
    assert len(list((tmp_path / "store").rglob("image.npy"))) == arrays
    assert medfl("data", "purge", hospital, "--older-than", 1, "--yes", monkeypatch=monkeypatch) == 0
    assert medfl("data", "purge", hospital, "--yes", monkeypatch=monkeypatch) == 0
    assert not list((tmp_path / "store").rglob("image.npy"))
    assert list(hospital.rglob("*.png"))


def test_purge_says_what_cannot_be_made_again(
    hospital: Path, nodule_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert medfl("data", "prepare", hospital, nodule_study, monkeypatch=monkeypatch) == 0
    site = next((tmp_path / "store").rglob("image.npy")).parents[2]
    left = site / "state" / "0123456789abcdef" / "run-1"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"x")
    asked: list[str] = []
    monkeypatch.setattr(typer, "confirm", lambda text, abort: asked.append(text))
    capsys.readouterr()
    assert medfl("data", "purge", hospital, monkeypatch=monkeypatch) == 0
    assert "can be made again from the hospital's files" in asked.pop()
    assert left.is_dir()
    assert "a run left here" not in printed(capsys)
    assert medfl("data", "purge", hospital, "--runs", monkeypatch=monkeypatch) == 0
    assert "cannot be made again, and a run that still goes on needs it" in asked.pop()
    assert "a run left here" in printed(capsys)
    assert not left.exists()
