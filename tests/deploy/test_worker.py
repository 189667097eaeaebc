"""The worker of a site as a hospital relies on it: what may run here runs and is noted; of what fails only a code leaves."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MessageType

from medfl.clients import node
from medfl.clients.training import interrupts
from medfl.deploy import site_worker
from medfl.deploy.approvals import approve
from medfl.deploy.bundle import read_bundle_study
from medfl.errors import safe_sentence
from medfl.flower.tasks import TaskToken, Unreachable
from medfl.grids import auditing, packing
from medfl.messages import records
from medfl.site import Site, init_site, read_site
from tests.deploy.played import PLANTED, TICKET, Node, Server, Task, job


class Joined:
    """What the client app does for a message that asks who is there; it keeps how it was called."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.instead: Callable[[], object] = lambda: None

    def __call__(self, message: Message, context: Context) -> Message:
        self.contexts.append(context)
        self.instead()
        return Message(records.build_reply_content("hospital-a", {}, told={"patients": "12"}), reply_to=message)


@pytest.fixture(autouse=True)
def _played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_worker, "ServerLink", Server)
    monkeypatch.setattr(Server, "over", False)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Joined:
    played = Joined()
    monkeypatch.setattr(node, "join", played)
    return played


@pytest.fixture
def site(tmp_path: Path) -> Site:
    file = init_site(tmp_path / "site", "hospital-a", ".")
    file.write_text(file.read_text() + '\n[federation]\nserver = "fl.example.org:443"\n')
    return read_site(file)


@pytest.fixture
def approved(site: Site, nodule_study: Path) -> Site:
    approve(site, read_bundle_study(nodule_study))
    return site


def handled(site: Site, task: Task, ticket: TaskToken = TICKET) -> Task:
    site_worker.SiteWorker(site, site.folder / "site.toml").handle(ticket, task)
    return task


def reason_of(task: Task) -> str:
    """Return what the server reads of the one reply, which holds nothing else and is told to the SuperNode as a failure."""
    (reply,) = task.replies
    assert reply.has_error()
    assert not reply.has_content()
    assert task.ended == [False]
    return str(reply.error.reason)


def noted(site: Site) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (site.folder / "audit.jsonl").read_text().splitlines()]
    return [(line["event"], line.get("decision", line.get("error", "answer"))) for line in lines]


def test_an_approved_message_is_answered_by_the_client_app_and_noted(approved: Site, joined: Joined) -> None:
    task = handled(approved, Task(job()))
    (reply,) = task.replies
    assert reply.content.config_records[records.SITE]["patients"] == "12"
    assert task.ended == [True]
    assert noted(approved) == [("came", auditing.ACCEPTED), ("left", "answer")]
    lines = (approved.folder / "audit.jsonl").read_text().splitlines()
    assert {(line["run"], line["round"], line["type"]) for line in map(json.loads, lines)} == {("run-1", 2, records.JOIN)}


def test_the_client_app_gets_the_sites_own_file_and_nothing_that_the_supernode_keeps(approved: Site, joined: Joined) -> None:
    handled(approved, Task(job()))
    (context,) = joined.contexts
    assert context.node_config == {"site": str(approved.folder / "site.toml")}
    assert not context.state
    assert context.run_config["name"] == "nodule"


@pytest.mark.parametrize(
    ("code", "changes"), [("STUDY-NOT-APPROVED", {}), ("OVERRIDE-REFUSED", {"rounds": 9})], ids=["unapproved", "override"]
)
def test_what_is_not_approved_gets_a_code_and_a_safe_sentence_and_runs_nothing(
    code: str, changes: dict[str, Any], site: Site, nodule_study: Path, joined: Joined
) -> None:
    if changes:
        approve(site, read_bundle_study(nodule_study))
    assert reason_of(handled(site, Task(job(**changes)))) == safe_sentence(code)
    assert joined.contexts == []
    assert noted(site) == [("came", code), ("left", safe_sentence(code))]


def test_another_kind_of_app_is_refused_though_the_study_is_approved(approved: Site, joined: Joined) -> None:
    task = handled(approved, Task(job()), TaskToken("flwr-agentapp", "token"))
    assert reason_of(task) == safe_sentence("APP-KIND")
    assert joined.contexts == []
    assert noted(approved)[0] == ("came", "APP-KIND")


def told_anywhere(site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> str:
    """Return everything that was logged at any level, printed, or noted."""
    printed = capfd.readouterr()
    files = [path.read_text(errors="replace") for path in site.folder.rglob("*") if path.is_file()]
    return "\n".join([caplog.text, printed.out, printed.err, *files])


def test_a_gate_that_fails_lets_nothing_in_and_tells_nothing(
    approved: Site, joined: Joined, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken(*_: object) -> None:
        raise RuntimeError(PLANTED)

    monkeypatch.setattr(site_worker, "authorize", broken)
    caplog.set_level(0)
    assert reason_of(handled(approved, Task(job()))) == safe_sentence("GATE-FAILED")
    assert joined.contexts == []
    assert noted(approved) == [("came", "GATE-FAILED"), ("left", safe_sentence("GATE-FAILED"))]
    assert "[GATE-FAILED] RuntimeError" in caplog.text
    assert PLANTED not in told_anywhere(approved, caplog, capfd)


def test_of_a_client_app_that_raises_nothing_is_told_but_that_it_failed(
    approved: Site, joined: Joined, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError(PLANTED)

    joined.instead = fail
    caplog.set_level(0)
    assert reason_of(handled(approved, Task(job()))) == safe_sentence("SITE-ERROR")
    assert noted(approved) == [("came", auditing.ACCEPTED), ("left", safe_sentence("SITE-ERROR"))]
    assert "[SITE-ERROR] ValueError" in caplog.text
    assert PLANTED not in told_anywhere(approved, caplog, capfd)


def test_what_fails_before_the_client_app_guards_itself_is_noted_as_it_leaves(approved: Site) -> None:
    unknown, torn = job("query.unknown"), job(MessageType.TRAIN)
    data = b"no table of tensors"
    array = Array(dtype="uint8", shape=(len(data),), stype=packing.PACKED, data=data)
    torn.message.content[records.ARRAYS] = ArrayRecord({packing.PACKED: array})
    codes = [safe_sentence("SITE-ERROR"), safe_sentence("ARRAYS-UNREADABLE")]
    assert [reason_of(handled(approved, Task(asked))) for asked in (unknown, torn)] == codes
    assert [what for event, what in noted(approved) if event == "left"] == codes


def test_what_can_not_be_noted_as_it_comes_is_not_done(approved: Site, joined: Joined) -> None:
    (approved.folder / "audit.jsonl").mkdir()
    assert reason_of(handled(approved, Task(job()))) == safe_sentence("RUN-FOLDER")
    assert joined.contexts == []


def test_a_refusal_that_can_not_be_noted_says_so_and_no_more(site: Site, joined: Joined) -> None:
    (site.folder / "audit.jsonl").write_text('{"n": 1, "hash": "forged"}\n')
    assert reason_of(handled(site, Task(job()))) == safe_sentence("AUDIT-DAMAGED")
    assert joined.contexts == []


def test_an_answer_that_can_not_be_noted_does_not_leave(
    approved: Site, joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, PLANTED)

    joined.instead = lambda: monkeypatch.setattr(os, "fsync", full)
    assert reason_of(handled(approved, Task(job()))) == safe_sentence("DISK-FULL")
    assert len(joined.contexts) == 1


@pytest.mark.parametrize("at", ["pull", "push"])
@pytest.mark.parametrize("lost", [Unreachable, KeyError], ids=["gone", "strange"])
def test_a_message_that_is_lost_on_the_way_ends_nothing(
    at: str, lost: type[Exception], approved: Site, joined: Joined, caplog: pytest.LogCaptureFixture
) -> None:
    task = handled(approved, Task(job(), lost=lost, at=at))
    assert task.replies == []
    assert task.ended == [False]
    assert "nothing is answered" in caplog.text
    assert PLANTED not in caplog.text
    assert handled(approved, Task(job())).ended == [True]


def working(batches: int = 2000) -> None:
    """Do what training does between two batches, for longer than anybody should have to wait."""
    for _ in range(batches):
        interrupts.check_interrupts()
        time.sleep(0.001)


def test_work_that_nobody_waits_for_is_broken_off(approved: Site, joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    joined.instead = working
    monkeypatch.setattr(site_worker, "HEARTBEAT", 0.01)
    task = handled(approved, Task(job(), known=False))
    assert reason_of(task) == safe_sentence("RUN-STOPPED")


def test_work_for_a_run_that_was_stopped_is_broken_off(approved: Site, joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    joined.instead = working
    monkeypatch.setattr(Server, "over", True)
    monkeypatch.setattr(site_worker, "_POLL_SECONDS", 0.02)
    assert reason_of(handled(approved, Task(job()))) == safe_sentence("RUN-STOPPED")
    assert noted(approved)[-1] == ("left", safe_sentence("RUN-STOPPED"))


def up(site: Site, tasks: Node, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the worker as the program does, until it ends by itself."""
    secret = site.folder / "secret"
    secret.write_bytes(b"secret")
    monkeypatch.setattr(
        site_worker, "NodeTasks", lambda address, key: tasks if (address, key) == ("here:1", b"secret") else None
    )
    tied: list[bool] = []
    monkeypatch.setattr(site_worker, "die_with_parent", lambda: tied.append(True))
    monkeypatch.setattr(site_worker, "_IDLE_SECONDS", 0.001)
    code = site_worker.main(site.folder / "site.toml", "here:1", secret)
    assert tied == [True]  # to its supervisor, lest two workers take messages of one site
    return code


def edit(site: Site) -> None:
    file = site.folder / "site.toml"
    file.write_text(file.read_text() + "\n# stricter\n")


def test_the_worker_waits_answers_and_ends_for_a_fresh_one_when_the_site_was_edited(
    approved: Site, joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Task(job())
    joined.instead = lambda: edit(approved)  # while a message is worked on: the next is held against the new terms
    tasks = Node(lambda: None, lambda: first, lambda: pytest.fail("asked for more on the old terms"))
    assert up(approved, tasks, monkeypatch) == site_worker.SITE_CHANGED == 75
    assert first.ended == [True]


def test_a_site_whose_file_is_being_replaced_is_read_anew(approved: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    file = approved.folder / "site.toml"
    tasks = Node(file.unlink, lambda: pytest.fail("asked for more without terms"))
    assert up(approved, tasks, monkeypatch) == site_worker.SITE_CHANGED


@pytest.mark.parametrize(("change", "said"), [("alone", "[NO-FEDERATION]"), ("gone", "there is no such file")])
def test_a_site_that_can_not_be_served_ends_the_program_with_1_and_a_plain_sentence(
    change: str, said: str, tmp_path: Path
) -> None:
    file = init_site(tmp_path / "site", "hospital-a", ".")
    if change == "gone":
        file.unlink()
    command = [sys.executable, "-m", "medfl.deploy.site_worker", str(file), "127.0.0.1:9", str(tmp_path / "secret")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
