"""What the terminal of a running site shows of its worker's log."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.deploy import code_watch
from medfl.deploy.code_watch import CodeWatch

_TIME = "2026-01-01 10:00:00,123"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    log = tmp_path / "worker.log"
    log.write_text(f"{_TIME} [POLICY-HOURS] of an earlier start\n")
    return log


def write(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_a_code_is_told_with_where_to_read_and_without_what_is_written_there(log: Path) -> None:
    told: list[str] = []
    watch = CodeWatch(log, told.append)
    watch.look()
    assert told == []
    write(
        log, f"{_TIME} Answered.", f"{_TIME} [SITE-ERROR] KeyError The server is told [NOT-ANSWERED] alone.", "  patient [ZQ-X]"
    )
    watch.look()
    assert told == [f"[SITE-ERROR] The details are in the log of the site. Log: {log}"]


def test_the_same_code_is_told_once_a_minute(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    watch, now = CodeWatch(log, told.append), [0.0]
    monkeypatch.setattr(code_watch.time, "monotonic", lambda: now[0])
    for now[0] in (0.0, 1.0, 59.0, 60.0):
        write(log, f"{_TIME} [POLICY-HOURS] it is 05:00.", f"{_TIME} [POLICY-HOURS] it is 05:00.")
        watch.look()
    assert told == [f"[POLICY-HOURS] The site does not work at this hour. Log: {log}"] * 2
    write(log, f"{_TIME} [LOSS-NONFINITE] the loss is not finite.")
    watch.look()
    assert len(told) == 3


def test_a_log_that_is_rotated_or_gone_is_read_from_its_beginning(log: Path) -> None:
    told: list[str] = []
    watch = CodeWatch(log, told.append)
    log.write_text("")
    watch.look()
    write(log, f"{_TIME} [POLICY-HOURS] it is 05:00.")
    watch.look()
    assert len(told) == 1
    log.unlink()
    watch.look()
    write(log, f"{_TIME} [LOSS-NONFINITE] the loss is not finite.")
    watch.look()
    assert len(told) == 2
