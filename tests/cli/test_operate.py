"""`medfl run`, `resume`, `status`, `stop` and `logs`: what an operator reads, and the exit codes that scripts rely on.

Flower and the server's process of a run are played: it is noted what Flower is asked, and the process writes its history.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medfl.api import OpenRun, RunOutcome
from medfl.cli import operate
from medfl.cli.app import main
from medfl.deploy import control, superlink
from medfl.deploy.federation_folder import FederationFolder
from medfl.errors import fixes_of, safe_sentence
from medfl.runs.run_folder import Run
from medfl.study import read_app
from tests.deploy.local_server import make_federation

COMMANDS = ("run", "resume", "status", "stop", "logs")


class Flower:
    """Flower's server: each run that it is given follows a plot, and its process holds the run folder as long as it lives."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.status = "running"
        self.plot: Callable[[Run], None] = lambda run: None
        self._process = ExitStack()
        self._study: Any = None

    def __call__(self, folder: FederationFolder, *words: str) -> dict[str, Any]:
        self.asked.append(words)
        assert len(self.asked) < 200, "a run is followed for ever"
        if words[0] == "run":
            self.status = "running"
            self._begin(folder, Path(words[1]), resume="server.resume=true" in words[-1])
        elif words[0] == "stop":
            self.status = "finished:stopped"
        return {"success": True, "run-id": str(100 + len(self.asked)), "runs": [{"status": self.status}]}

    def _begin(self, folder: FederationFolder, app: Path, *, resume: bool) -> None:
        started = read_app(app, {"server.run": app.parent.name})
        run = Run.resume(folder.runs, started) if resume else Run.create(folder.runs, started)
        self._process.enter_context(run.lock())
        run.history.append(run.resume_event() if resume else run.start_event())
        self.plot(run)

    def end(self, status: str = "", reason: str = "") -> Callable[[Run], None]:
        """Return a plot: the process reports how the run ended and is gone; or it is killed, which Flower does not see yet."""

        def plot(run: Run) -> None:
            if status:
                run.history.append({"event": "end", "status": status, "reason": reason})
                self.status = f"finished:{status}"
            self._process.close()

        return plot

    def count(self, command: str) -> int:
        return sum(words[0] == command for words in self.asked)


@dataclass(frozen=True)
class Done:
    """Outcome of a command: its exit code and its output, with runs of blanks as one."""

    code: int
    out: str
    err: str


Medfl = Callable[..., Done]


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> Flower:
    played = Flower()
    monkeypatch.setattr(control, "run_flwr", played)
    monkeypatch.setattr(operate, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(operate, "_STATUS_SECONDS", 0.01)
    return played


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    return make_federation(tmp_path, ("a",))


@pytest.fixture
def medfl(federation: FederationFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Medfl:
    """Return what gives a command with the real entry point, which alone makes exit codes of errors."""
    monkeypatch.setenv("MEDFL_FEDERATION", str(federation.path))

    def command(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["medfl", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), " ".join(captured.out.split()), " ".join(captured.err.split()))

    return command


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOutcome:
    """Return what every run that completes has to show."""
    made = RunOutcome(tmp_path / "run", tmp_path / "report.html", (), ("Together is better.",))
    monkeypatch.setattr(OpenRun, "outcome", lambda run: made)
    return made


def words_for(command: str, study: Path) -> list[object]:
    return [command, study] if command == "run" else [command]


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_federation_it_is_said_how_to_make_or_name_one(
    command: str, medfl: Medfl, nodule_study: Path, tmp_path: Path
) -> None:
    done = medfl(*words_for(command, nodule_study), "--federation", tmp_path / "nowhere")
    assert (done.code, done.out) == (1, "")
    assert "[FEDERATION-MISSING]" in done.err
    assert "'medfl server init', or name its folder with '--federation'" in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_is_not_up_is_said_to_be_so(
    command: str, medfl: Medfl, flower: Flower, nodule_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert medfl("run", nodule_study, "--detach").code == 0
    completed = subprocess.CompletedProcess(
        [], 1, stdout="Using SuperLink: fed (127.0.0.1:1)\n", stderr="Connection unavailable"
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: completed)
    monkeypatch.setattr(control, "run_flwr", superlink.run_flwr)
    done = medfl(*words_for(command, nodule_study))
    assert (done.code, done.out) == (1, "")
    assert "[SERVER-DOWN]" in done.err
    assert "medfl server up" in done.err


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_a_run_that_is_not_there_is_said_to_be_so(command: str, medfl: Medfl, flower: Flower, nodule_study: Path) -> None:
    done = medfl(command)
    assert (done.code, done.out) == (1, "")
    assert "[RUN-MISSING] nothing has been run in this federation yet." in done.err
    medfl("run", nodule_study, "--detach")
    done = medfl(command, "other")
    assert (done.code, done.out) == (1, "")
    assert "[RUN-MISSING] 0 runs match 'other'. List the runs: medfl runs" in done.err
    assert len(flower.asked) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rounds=0", "rounds: must be at least 1"),
        ("optimiser.name=adam", "Did you mean 'optimizer'?"),
        ("rounds", "'rounds' is not of the form key=value"),
    ],
)
def test_a_study_with_a_mistake_ends_with_2_and_is_not_started(
    change: str, said: str, medfl: Medfl, flower: Flower, nodule_study: Path
) -> None:
    done = medfl("run", nodule_study, "-c", change)
    assert (done.code, done.out) == (2, "")
    assert said in done.err.replace(" │ │ ", " ")
    assert "Traceback" not in done.err
    assert flower.asked == []


def test_a_run_that_ends_well_ends_with_0_and_what_it_has_to_show(
    medfl: Medfl, flower: Flower, nodule_study: Path, outcome: RunOutcome
) -> None:
    flower.plot = flower.end("completed")
    done = medfl("run", nodule_study, "--json")
    assert done.code == 0
    assert json.loads(done.out) == outcome.as_json()
    done = medfl("status", "--follow")
    assert done.code == 0
    assert "Together is better." in done.out


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (("failed", "[QUORUM] one of two."), "[RUN-FAILED] [QUORUM] one of two."),
        (("stopped", "stopped by hand"), "[RUN-STOPPED] stopped by hand"),
        ((), "[RUN-FAILED] the server's process of this run died without a message."),
    ],
    ids=["failed", "stopped", "killed"],
)
def test_a_run_that_ends_badly_ends_with_1_the_reason_and_the_way_on(
    ended: tuple[str, ...], said: str, medfl: Medfl, flower: Flower, nodule_study: Path, federation: FederationFolder
) -> None:
    flower.plot = flower.end(*ended)
    for command in (("run", nodule_study), ("status", "--follow")):
        done = medfl(*command)
        assert (done.code, done.out) == (1, "")
        assert said in done.err
        assert f"medfl resume {control.find(federation, '').name}" in done.err


DIED = "[RUN-FAILED] the server's process of this run died"


@pytest.mark.parametrize(("status", "said"), [("stopped", "was stopped"), ("failed", DIED), ("completed", DIED)])
def test_a_run_of_which_only_flower_knows_that_it_is_over_is_never_called_completed(
    status: str, said: str, medfl: Medfl, flower: Flower, nodule_study: Path
) -> None:
    flower.plot = lambda run: setattr(flower, "status", f"finished:{status}")  # the process hangs, and holds the run
    done = medfl("run", nodule_study)
    assert (done.code, done.out) == (1, "")
    assert f"{said} without a message." in done.err


def test_a_run_may_only_be_started_and_ctrl_c_leaves_it_running(
    medfl: Medfl, flower: Flower, nodule_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = json.loads(medfl("run", nodule_study, "--detach", "--json").out)["run"]

    def pressed(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", pressed)
    done = medfl("status", "--follow")
    assert done.code == 130
    assert f"The run goes on. Follow it: medfl status {name} --follow. Stop it: medfl stop {name}." in done.err
    assert flower.count("stop") == 0


def test_the_status_of_a_run_is_shown_to_people_and_machines(medfl: Medfl, flower: Flower, nodule_study: Path) -> None:
    flower.plot = lambda run: run.history.append({"event": "joined", "site": "a", "train": 12})
    name = json.loads(medfl("run", nodule_study, "--detach", "--json").out)["run"]
    done = medfl("status", name[:12])
    assert done.code == 0
    assert f"Run {name}: running" in done.out
    assert "a 12 joined" in done.out
    shown = json.loads(medfl("status", "--json").out)
    assert (shown["run"], shown["study"], shown["status"], shown["last"]["event"]) == (name, "nodule", "running", "joined")


def test_a_run_that_no_hospital_has_approved_is_not_to_be_resumed(medfl: Medfl, flower: Flower, nodule_study: Path) -> None:
    def refuse(run: Run) -> None:
        reason = "[STUDY-NOT-APPROVED] The site has not approved this study."
        run.history.append({"event": "failed", "site": "north", "during": "join", "reason": reason})
        flower.end("failed", "[TOO-FEW-SITES] 0 of 1 sites can take part.")(run)

    flower.plot = refuse
    said = medfl("run", nodule_study).err
    assert "approves with `medfl site approve`" in said
    assert "resume" not in said


def test_a_run_that_a_hospital_has_counted_is_resumed_and_not_started_anew(
    medfl: Medfl, flower: Flower, nodule_study: Path
) -> None:
    def decline(run: Run) -> None:
        run.history.append({"event": "failed", "site": "north", "during": "join", "reason": safe_sentence("NOT-ANSWERED")})
        flower.end("failed", "[TOO-FEW-SITES] 0 of 1 sites can take part.")(run)

    flower.plot = decline
    said = medfl("run", nodule_study).err
    assert "Ask the hospital" in said
    assert "Then go on with this run, which these hospitals know: medfl resume " in " ".join(said.split())


def test_what_to_do_about_a_failed_run_is_said_once(medfl: Medfl, flower: Flower, nodule_study: Path) -> None:
    def decline(run: Run) -> None:
        reason = safe_sentence("NOT-ANSWERED")
        run.history.append({"event": "failed", "site": "north", "during": "join", "reason": reason})
        flower.end("failed", f"[TOO-FEW-SITES] 0 of 1 sites can take part. {fixes_of([reason])}")(run)

    flower.plot = decline
    said = " ".join(medfl("run", nodule_study).err.split())
    error = said.rpartition("RUN-FAILED")[2]
    assert error.count("Ask the hospital") == 1
    assert "After that, go on with this run, which these hospitals know: medfl resume " in said


def test_a_run_that_could_not_begin_is_resumed_when_the_missing_hospital_is_there(
    medfl: Medfl, flower: Flower, nodule_study: Path
) -> None:
    def miss_one(run: Run) -> None:
        run.history.append({"event": "joined", "site": "north", "train": 12})
        run.history.append({"event": "absent", "site": "south", "during": "join", "reason": "[NOT-CONNECTED]"})
        flower.end("failed", "[TOO-FEW-SITES] 1 of 2 sites can take part.")(run)

    flower.plot = miss_one
    said = " ".join(medfl("run", nodule_study).err.split())
    assert "When they are there, go on with it: medfl resume " in said
    assert "complete round" not in said


def test_a_run_is_stopped_once_and_it_is_said_how_it_goes_on(medfl: Medfl, flower: Flower, nodule_study: Path) -> None:
    name = json.loads(medfl("run", nodule_study, "--detach", "--json").out)["run"]
    assert medfl("stop") == Done(0, f"{name} is stopped. Go on after its last complete round: medfl resume {name}.", "")
    assert medfl("stop", name) == Done(0, f"{name} was over already.", "")
    assert flower.count("stop") == 1


def test_the_log_of_a_run_is_printed_as_it_is(
    medfl: Medfl, flower: Flower, nodule_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medfl("run", nodule_study, "--detach")
    text = "[red]INFO[/red] " + "long " * 40
    monkeypatch.setattr(
        control, "run_flwr_text", lambda folder, command, run, *_: text if (command, run) == ("log", "101") else ""
    )
    assert medfl("logs") == Done(0, text.strip(), "")


def test_a_run_goes_on_and_its_former_end_is_not_taken_for_the_new_one(
    medfl: Medfl, flower: Flower, nodule_study: Path, outcome: RunOutcome, federation: FederationFolder
) -> None:
    flower.plot = flower.end("failed", "the first time")
    assert medfl("run", nodule_study).code == 1
    flower.plot = flower.end("failed", "the second time")
    assert "[RUN-FAILED] the second time" in medfl("resume").err
    flower.plot = lambda run: None
    assert medfl("resume", "--detach").code == 0
    run = Run.open(control.find(federation, "").run)
    done = follow_until(lambda: flower.end("completed")(run), medfl)
    assert done.code == 0, done.err


def follow_until(event: Callable[[], None], medfl: Medfl) -> Done:
    """Follow a run that goes on, until something happens a few looks later."""
    looks = iter(range(10_000))
    with pytest.MonkeyPatch.context() as patch:
        sleep = time.sleep
        patch.setattr(time, "sleep", lambda seconds: event() if next(looks) == 3 else sleep(seconds))
        return medfl("status", "--follow")


def test_a_run_that_is_completed_does_not_go_on(medfl: Medfl, flower: Flower, nodule_study: Path, outcome: RunOutcome) -> None:
    flower.plot = flower.end("completed")
    medfl("run", nodule_study)
    done = medfl("resume")
    assert done.code == 1
    assert "[RUN-FINISHED]" in done.err
    assert flower.count("run") == 1
