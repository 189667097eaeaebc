"""What tells an operator of trouble: health, metrics, and a command that is started when a run fails."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from medfl.deploy import monitor_server
from medfl.deploy.failure_watch import FailureWatch
from medfl.deploy.federation_folder import FEDERATION_FILE, FederationFolder, open_federation
from medfl.deploy.monitor_server import Monitor, monitored
from medfl.deploy.presence import SitePresence
from medfl.errors import ConfigError
from medfl.runs import Run
from medfl.runs.history import HISTORY_FILE
from medfl.study import StudyApp
from medfl.system.ports import find_free_port
from medfl.testing.sites import make_study
from tests.deploy.local_server import make_federation, wait_for

REPLY = {"status": "ok", "reason": "", "weight": 3, "metrics": {}}
REFUSED = {"status": "failed", "reason": "[COUNT-TOLD] A reply counts more.", "weight": 0, "metrics": {}}


def with_settings(folder: FederationFolder, **settings: str) -> FederationFolder:
    """Return the federation with other entries in its table [monitor]."""
    file = folder.path / FEDERATION_FILE
    before, _, _ = file.read_text().partition("[monitor]")
    entries = "".join(f"{key.replace('_', '-')} = {json.dumps(value)}\n" for key, value in settings.items())
    file.write_text(f"{before}[monitor]\n{entries}")
    return open_federation(folder.path)


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    return make_federation(tmp_path, ("north",))


@pytest.fixture
def start(federation: FederationFolder) -> Callable[[], Run]:
    """Return a function that starts a run of two rounds, in one of which a reply was refused."""

    def start() -> Run:
        run = Run.create(federation.runs, StudyApp(make_study()))
        run.history.append(run.start_event())
        for number, south in ((1, REPLY), (2, REFUSED)):
            sizes = {"seconds": 10.0 * number, "bytes-up": 100, "bytes-down": 200}
            sites = {"north": REPLY, "south": south}
            run.history.append({"event": "round", "arm": "federated", "round": number, "sites": sites} | sizes)
        return run

    return start


def end(run: Run, status: str, reason: str = "") -> None:
    run.history.append({"event": "end", "status": status, "reason": reason, "seconds": 1.0})


@pytest.fixture
def address(federation: FederationFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of the monitoring of a server of which all processes are up."""
    seen = datetime(2026, 11, 30, 9, 30, tzinfo=UTC)
    present = {"north": SitePresence("north", True, seen), 'so"uth\\': SitePresence("south", False, None)}
    monkeypatch.setattr(monitor_server, "list_presence", lambda _: present)
    monkeypatch.setattr(Monitor, "processes", lambda _: {"superlink": True, "superexec": True, "nginx": True})
    with monitored(with_settings(federation, listen=f"127.0.0.1:{find_free_port()}")) as listen:
        yield f"http://{listen}"


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def test_metrics_tell_sites_rounds_bytes_and_refusals(address: str, start: Callable[[], Run]) -> None:
    run = start()
    end(run, "completed")
    samples = {
        (sample.name, *(value for key, value in sorted(sample.labels.items()) if key not in ("run", "study"))): sample.value
        for family in text_string_to_metric_families(get(f"{address}/metrics"))
        for sample in family.samples
    }
    assert samples["medfl_up", "nginx"] == 1
    assert samples["medfl_site_online", "north"] == 1
    assert samples["medfl_site_online", 'so"uth\\'] == 0  # whatever a name holds
    assert samples["medfl_site_last_seen_timestamp_seconds", "north"] == 1_796_031_000
    assert ("medfl_site_last_seen_timestamp_seconds", 'so"uth\\') not in samples
    assert samples["medfl_run_status", "completed"] == 1
    assert (samples["medfl_run_rounds",], samples["medfl_run_round_seconds",]) == (2, 20)
    assert (samples["medfl_run_bytes", "up"], samples["medfl_run_bytes", "down"]) == (200, 400)
    assert samples["medfl_run_refusals", "COUNT-TOLD"] == 1


def test_health_is_503_when_a_process_is_down(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(get(f"{address}/health")) == {
        "up": True,
        "processes": {"superlink": True, "superexec": True, "nginx": True},
    }
    monkeypatch.setattr(Monitor, "processes", lambda _: {"superlink": False, "superexec": True, "nginx": True})
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{address}/health")
    assert caught.value.code == 503
    assert json.loads(caught.value.read())["processes"]["superlink"] is False


def test_nothing_else_is_there(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{address}/")


def test_without_an_address_nothing_listens(federation: FederationFolder) -> None:
    with monitored(federation) as listen:
        assert listen == ""


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "9464", "127.0.0.1", "127.0.0.1:0", "fl.example.org:9464"])
def test_it_listens_on_this_machine_alone(federation: FederationFolder, listen: str) -> None:
    with pytest.raises(ConfigError, match="this machine alone"):
        with_settings(federation, listen=listen)


@pytest.fixture
def told(tmp_path: Path) -> tuple[str, Path]:
    """Return a command that notes what it is told, and the file of its notes."""
    notes = tmp_path / "notes"
    code = f"import os; open({str(notes)!r}, 'a').write(' '.join(os.environ['MEDFL_' + k] for k in ('STATUS', 'CODE')) + '\\n')"
    return f'"{sys.executable}" -c "{code}"', notes


def test_a_command_is_started_once_for_each_failure(
    federation: FederationFolder, start: Callable[[], Run], told: tuple[str, Path]
) -> None:
    command, notes = told
    earlier = start()
    end(earlier, "failed", "[QUORUM] Too few replies could be counted.")
    lines: list[str] = []
    watch = FailureWatch(with_settings(federation, on_failure=command), lines.append)
    watch.check()
    completed, failed = start(), start()
    end(completed, "completed")
    with failed.lock():
        watch.check()
        assert not any(failed.path.name in line for line in lines)  # it is still running
        end(failed, "failed", "[QUORUM] Too few replies could be counted.")
    for _ in range(3):
        watch.check()
    assert [line for line in lines if failed.path.name in line] == [f"The run {failed.path.name} of tiny failed: QUORUM."]
    wait_for(lambda: notes.exists() and "failed QUORUM\n" in notes.read_text())
    assert notes.read_text().count("failed") == 1
    wait_for(lambda: watch.check() is None and not watch._started)  # and leaves no zombie
    assert not any(earlier.path.name in line for line in lines)


def test_a_run_whose_process_died_is_told(federation: FederationFolder, start: Callable[[], Run]) -> None:
    lines: list[str] = []
    watch = FailureWatch(federation, lines.append)
    run = start()
    with run.lock():
        watch.check()
        assert lines == []
    watch.check()
    assert lines == [f"The run {run.path.name} of tiny died: no code."]


def test_a_damaged_history_hides_no_other_run(federation: FederationFolder, start: Callable[[], Run]) -> None:
    damaged = start()
    (damaged.path / HISTORY_FILE).write_text("not an event\n")
    lines: list[str] = []
    watch = FailureWatch(federation, lines.append)  # the server starts all the same
    failed = start()
    end(failed, "failed", "[QUORUM] Too few replies could be counted.")
    watch.check()
    assert lines == [f"The run {failed.path.name} of tiny failed: QUORUM."]


def test_a_command_that_is_not_there_is_told(federation: FederationFolder, start: Callable[[], Run]) -> None:
    lines: list[str] = []
    watch = FailureWatch(with_settings(federation, on_failure="/no/such/command"), lines.append)
    end(start(), "failed", "[QUORUM] x")
    watch.check()
    assert lines[-1] == "The command of monitor.on-failure cannot be started (No such file or directory)."
