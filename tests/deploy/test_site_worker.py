"""Worker of a site: what is approved runs and is recorded, everything else is refused, and of a failure only a code leaves."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict

from medfl.clients import node, node_cache
from medfl.clients.training import interrupts
from medfl.deploy import site_worker
from medfl.deploy.approvals import approve
from medfl.deploy.bundle import read_bundle_study
from medfl.deploy.identity import make_key
from medfl.deploy.site_worker import SiteWorker
from medfl.errors import safe_sentence
from medfl.flower.tasks import TaskInput, TaskToken, Unreachable
from medfl.grids import auditing, packing
from medfl.messages import records
from medfl.messages.signatures import SignedMessage
from medfl.site import Site, init_site, read_site
from medfl.study import Study
from tests.deploy.fake_node import NODE, PLANTED, RUN, TOKEN, FakeNode, FakeServer, FakeTask, job


class FakeJoin:
    """The client app's answer to a message to join; it records how it was called."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.action: Callable[[], object] = lambda: None

    def __call__(self, message: Message, context: Context, _: object = None) -> Message:
        self.contexts.append(context)
        self.action()
        return Message(records.build_reply_content("hospital-a", {}, site_info={"patients": "12"}), reply_to=message)


def take_anything(worker: SiteWorker, job: TaskInput, study: Study) -> tuple[SignedMessage, RecordDict]:
    """Take a message that nobody signed."""
    return SignedMessage(RUN, job.message.metadata.message_type, NODE, {}), RecordDict()


@pytest.fixture(autouse=True)
def _fake_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_worker, "ServerLink", FakeServer)
    monkeypatch.setattr(SiteWorker, "_authenticate", take_anything)  # see test_signed_messages
    monkeypatch.setattr(FakeServer, "over", False)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> FakeJoin:
    fake = FakeJoin()
    monkeypatch.setattr(node, "join", fake)
    return fake


@pytest.fixture
def site(tmp_path: Path) -> Site:
    file = init_site(tmp_path / "site", "hospital-a", ".")
    file.write_text(file.read_text() + '\n[federation]\nserver = "fl.example.org:443"\n')
    make_key(tmp_path / "site" / "site.key")
    return read_site(file)


@pytest.fixture
def approved(site: Site, nodule_study: Path) -> Site:
    approve(site, read_bundle_study(nodule_study))
    (site.folder / "audit.jsonl").unlink()  # of the approval: the tests begin with what comes
    return site


def handle(site: Site, task: FakeTask, token: TaskToken = TOKEN) -> FakeTask:
    site_worker.SiteWorker(site, site.folder / "site.toml").handle(token, task)
    return task


def reason_of(task: FakeTask) -> str:
    """Return the reason in the one reply, which holds nothing else and is reported to the SuperNode as a failure."""
    (reply,) = task.replies
    assert reply.has_error()
    assert not reply.has_content()
    assert task.results == [False]
    return str(reply.error.reason)


def logged(site: Site) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (site.folder / "audit.jsonl").read_text().splitlines()]
    return [(line["event"], line.get("decision", line.get("error", "answer"))) for line in lines]


def test_an_approved_message_is_answered_by_the_client_app_and_recorded(approved: Site, joined: FakeJoin) -> None:
    task = handle(approved, FakeTask(job()))
    (reply,) = task.replies
    assert reply.content.config_records[records.SITE]["patients"] == "12"
    assert task.results == [True]
    assert logged(approved) == [("came", auditing.ACCEPTED), ("left", "answer")]
    lines = (approved.folder / "audit.jsonl").read_text().splitlines()
    assert {(line["run"], line["round"], line["type"]) for line in map(json.loads, lines)} == {("run-1", 2, records.JOIN)}


def test_the_client_app_gets_the_sites_own_file_and_nothing_from_the_supernode(approved: Site, joined: FakeJoin) -> None:
    handle(approved, FakeTask(job()))
    (context,) = joined.contexts
    assert not any(key.startswith("server.") for key in context.run_config)
    assert context.node_config == {"site": str(approved.folder / "site.toml")}
    assert not context.state
    assert context.run_config["name"] == "nodule"


@pytest.mark.parametrize(
    ("code", "changes"), [("STUDY-NOT-APPROVED", {}), ("OVERRIDE-REFUSED", {"rounds": 9})], ids=["unapproved", "override"]
)
def test_a_study_that_is_not_approved_gets_a_code_and_a_safe_sentence_and_does_not_run(
    code: str, changes: dict[str, Any], site: Site, nodule_study: Path, joined: FakeJoin
) -> None:
    if changes:
        approve(site, read_bundle_study(nodule_study))
    assert reason_of(handle(site, FakeTask(job(**changes)))) == safe_sentence(code)
    assert joined.contexts == []
    assert logged(site)[-2:] == [("came", code), ("left", safe_sentence(code))]


def test_another_kind_of_app_is_refused_even_if_the_study_is_approved(approved: Site, joined: FakeJoin) -> None:
    task = handle(approved, FakeTask(job()), TaskToken("flwr-agentapp", "token"))
    assert reason_of(task) == safe_sentence("APP-KIND")
    assert joined.contexts == []
    assert logged(approved)[0] == ("came", "APP-KIND")


def everything_written(site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> str:
    """Return everything that was logged at any level, printed, or written to a file."""
    printed = capfd.readouterr()
    files = [path.read_text(errors="replace") for path in site.folder.rglob("*") if path.is_file()]
    return "\n".join([caplog.text, printed.out, printed.err, *files])


def test_a_failing_authorization_lets_nothing_in_and_reveals_nothing(
    approved: Site, joined: FakeJoin, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken(*_: object) -> None:
        raise RuntimeError(PLANTED)

    monkeypatch.setattr(site_worker, "authorize", broken)
    caplog.set_level(0)
    assert reason_of(handle(approved, FakeTask(job()))) == safe_sentence("GATE-FAILED")
    assert joined.contexts == []
    assert logged(approved) == [("came", "GATE-FAILED"), ("left", safe_sentence("GATE-FAILED"))]
    assert "[GATE-FAILED] RuntimeError" in caplog.text
    assert PLANTED not in everything_written(approved, caplog, capfd)


def test_a_client_app_that_raises_reveals_only_that_it_failed(
    approved: Site, joined: FakeJoin, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError(PLANTED)

    joined.action = fail
    caplog.set_level(0)
    assert reason_of(handle(approved, FakeTask(job()))) == safe_sentence("NOT-ANSWERED")
    assert logged(approved) == [("came", auditing.ACCEPTED), ("left", safe_sentence("NOT-ANSWERED"))]
    assert "[SITE-ERROR] ValueError" in caplog.text
    assert PLANTED not in everything_written(approved, caplog, capfd)


def test_a_failure_before_the_client_apps_own_handling_is_recorded_as_it_leaves(approved: Site) -> None:
    unknown, torn = job("query.unknown"), job(MessageType.TRAIN)
    data = b"no table of tensors"
    array = Array(dtype="uint8", shape=(len(data),), stype=packing.PACKED, data=data)
    torn.message.content[records.ARRAYS] = ArrayRecord({packing.PACKED: array})
    codes = [safe_sentence("QUESTION-UNKNOWN"), safe_sentence("ARRAYS-UNREADABLE")]
    assert [reason_of(handle(approved, FakeTask(asked))) for asked in (unknown, torn)] == codes
    assert [what for event, what in logged(approved) if event == "left"] == codes


def test_a_message_that_cannot_be_recorded_is_not_acted_on(approved: Site, joined: FakeJoin) -> None:
    (approved.folder / "audit.jsonl").mkdir()
    assert reason_of(handle(approved, FakeTask(job()))) == safe_sentence("RUN-FOLDER")
    assert joined.contexts == []


def test_a_refusal_that_cannot_be_recorded_says_so_and_no_more(site: Site, joined: FakeJoin) -> None:
    (site.folder / "audit.jsonl").write_text('{"n": 1, "hash": "forged"}\n')
    assert reason_of(handle(site, FakeTask(job()))) == safe_sentence("AUDIT-DAMAGED")
    assert joined.contexts == []


def test_an_answer_that_cannot_be_recorded_does_not_leave(
    approved: Site, joined: FakeJoin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, PLANTED)

    joined.action = lambda: monkeypatch.setattr(os, "fsync", full)
    assert reason_of(handle(approved, FakeTask(job()))) == safe_sentence("NOT-ANSWERED")
    assert len(joined.contexts) == 1


@pytest.mark.parametrize("fails_at", ["pull", "push"])
@pytest.mark.parametrize("failure", [Unreachable, KeyError], ids=["gone", "strange"])
def test_a_message_that_is_lost_does_not_end_the_worker(
    fails_at: str, failure: type[Exception], approved: Site, joined: FakeJoin, caplog: pytest.LogCaptureFixture
) -> None:
    task = handle(approved, FakeTask(job(), failure=failure, fails_at=fails_at))
    assert task.replies == []
    assert task.results == [False]
    assert "nothing is answered" in caplog.text
    assert PLANTED not in caplog.text
    assert handle(approved, FakeTask(job())).results == [True]


def train_slowly(batches: int = 2000) -> None:
    """Check for interrupts as training does between two batches, for longer than any test should wait."""
    for _ in range(batches):
        interrupts.check_interrupts()
        time.sleep(0.001)


def test_work_that_nobody_waits_for_is_stopped(approved: Site, joined: FakeJoin, monkeypatch: pytest.MonkeyPatch) -> None:
    joined.action = train_slowly
    monkeypatch.setattr(site_worker, "HEARTBEAT", 0.01)
    task = handle(approved, FakeTask(job(), known=False))
    assert reason_of(task) == safe_sentence("RUN-STOPPED")


def test_the_supernode_hears_of_the_worker_while_it_fetches_the_message(
    approved: Site, joined: FakeJoin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large model over a slow line takes longer than the minute after which a SuperNode gives a silent worker up."""
    heard = threading.Event()

    class SlowTask(FakeTask):
        def pull(self) -> TaskInput:
            assert heard.wait(10.0)
            return super().pull()

        def send_heartbeat(self) -> bool:
            heard.set()
            return True

    monkeypatch.setattr(site_worker, "HEARTBEAT", 0.01)
    assert handle(approved, SlowTask(job())).results == [True]


def test_work_for_a_stopped_run_is_stopped(approved: Site, joined: FakeJoin, monkeypatch: pytest.MonkeyPatch) -> None:
    joined.action = train_slowly
    monkeypatch.setattr(FakeServer, "over", True)
    monkeypatch.setattr(site_worker, "_POLL_SECONDS", 0.02)
    assert reason_of(handle(approved, FakeTask(job()))) == safe_sentence("RUN-STOPPED")
    assert logged(approved)[-1] == ("left", safe_sentence("RUN-STOPPED"))


def run_worker(site: Site, tasks: FakeNode, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the worker as its program does, until it ends by itself."""
    secret = site.folder / "secret"
    secret.write_bytes(b"secret")
    monkeypatch.setattr(
        site_worker, "NodeTasks", lambda address, key: tasks if (address, key) == ("here:1", b"secret") else None
    )
    bound: list[bool] = []
    monkeypatch.setattr(site_worker, "die_with_parent", lambda: bound.append(True))
    monkeypatch.setattr(site_worker, "_IDLE_SECONDS", 0.001)
    code = site_worker.main(site.folder / "site.toml", "here:1", secret)
    assert bound == [True]  # to its supervisor, lest two workers take messages of one site
    return code


def edit(site: Site) -> None:
    file = site.folder / "site.toml"
    file.write_text(file.read_text() + "\n# stricter\n")


def test_the_worker_waits_answers_and_ends_for_a_new_process_when_the_site_was_edited(
    approved: Site, joined: FakeJoin, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FakeTask(job())
    joined.action = lambda: edit(approved)  # while a message is worked on: the next is held against the new terms
    tasks = FakeNode(lambda: None, lambda: first, lambda: pytest.fail("asked for more on the old terms"))
    assert run_worker(approved, tasks, monkeypatch) == site_worker.SITE_CHANGED == 75
    assert first.results == [True]


def test_the_worker_and_the_node_in_it_read_the_site_file_once(
    approved: Site, joined: FakeJoin, nodule_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed, parse = [], tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: (parsed.append("[federation]" in text), parse(text))[1])
    found: list[Site] = []
    joined.action = lambda: (found.append(node_cache.open_node(joined.contexts[-1]).site), edit(approved))
    assert run_worker(approved, FakeNode(lambda: None, lambda: FakeTask(job())), monkeypatch) == site_worker.SITE_CHANGED
    assert [site.name for site in found] == [approved.name]
    assert parsed.count(True) == 1


def test_a_site_whose_file_is_being_replaced_is_read_again(approved: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    file = approved.folder / "site.toml"
    tasks = FakeNode(file.unlink, lambda: pytest.fail("asked for more without terms"))
    assert run_worker(approved, tasks, monkeypatch) == site_worker.SITE_CHANGED


@pytest.mark.parametrize(("change", "said"), [("alone", "[NO-FEDERATION]"), ("gone", "there is no such file")])
def test_an_unusable_site_ends_the_program_with_1_and_a_plain_sentence(change: str, said: str, tmp_path: Path) -> None:
    file = init_site(tmp_path / "site", "hospital-a", ".")
    if change == "gone":
        file.unlink()
    command = [sys.executable, "-m", "medfl.deploy.site_worker", str(file), "127.0.0.1:9", str(tmp_path / "secret")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
