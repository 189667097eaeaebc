"""What came is matched with what was sent, and what was received with what left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medfl.audit.chain import Chain
from medfl.audit.verify import Verification, verify_logs
from medfl.cli.app import app


class Logs:
    """The logs of a server's run and of a site, which note each other as real ones do."""

    def __init__(self, folder: Path) -> None:
        self.server, self.site = Chain(folder / "server.jsonl", "server:run"), Chain(folder / "site.jsonl", "a")

    def send(self, content: str, **changes: Any) -> None:
        self.server.append(message("sent", content, site="a") | changes)

    def come(self, content: str, **changes: Any) -> None:
        head = "server:run " + self.server.head.replace(":", " ")
        self.site.append(message("came", content, decision="accepted", head=head) | changes)

    def leave(self, content: str) -> None:
        self.site.append(message("left", content))

    def receive(self, content: str, **changes: Any) -> None:
        head = "a " + self.site.head.replace(":", " ")
        self.server.append(message("received", content, site="a", head=head) | changes)

    def exchange(self, question: str, answer: str) -> None:
        self.send(question)
        self.come(question)
        self.leave(answer)
        self.receive(answer)

    def verify(self) -> Verification:
        return verify_logs([self.server.path, self.site.path])


def message(event: str, content: str, **about: Any) -> dict[str, Any]:
    records = [{"name": "arrays", "sha256": content}]
    return {"event": event, "type": "train", "run": "run", "round": 1, "records": records, "signature": "s" + content, **about}


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    logs = Logs(tmp_path)
    for n in range(3):
        logs.exchange(f"question-{n}", f"answer-{n}")
    return logs


def whats(found: Verification) -> list[str]:
    return [stray.what.partition(str(Path("/")))[0] for stray in found.strays]


def test_an_honest_exchange_has_no_stray(logs: Logs) -> None:
    found = logs.verify()
    assert (found.breaks, found.strays, found.notes) == ((), (), ())


def test_questions_that_the_server_did_not_log_are_found(logs: Logs) -> None:
    """There were 150 of them once, and the verdict was that all lines are what was written."""
    for n in range(150):
        logs.come(f"unlogged-{n}")
        logs.leave(f"told-{n}")
    found = logs.verify()
    assert found.breaks == ()
    assert len(found.strays) == 150
    assert "does not hold as sent" in found.strays[0].what


def test_a_message_that_came_twice_and_was_sent_once_is_found(logs: Logs) -> None:
    logs.come("question-2")
    assert len(logs.verify().strays) == 1


def test_a_message_that_names_no_log_is_found_with_the_sites_log_alone(logs: Logs) -> None:
    logs.come("forged", head="", decision="MESSAGE-UNSIGNED")
    (stray,) = verify_logs([logs.site.path]).strays
    assert "does not say which log of the server holds it. It was refused: MESSAGE-UNSIGNED." in stray.what


def test_a_message_sent_to_another_site_is_not_this_sites(logs: Logs) -> None:
    logs.send("other", site="b")
    logs.come("other")
    assert len(logs.verify().strays) == 1


@pytest.mark.parametrize(
    "change", [{"round": 2}, {"type": "evaluate"}, {"run": "other"}, {"signature": "another"}, {"records": []}]
)
def test_a_message_is_the_one_that_was_sent_in_all_that_is_logged(logs: Logs, change: dict[str, Any]) -> None:
    logs.send("question-3")
    logs.come("question-3", **change)
    assert len(logs.verify().strays) == 1


def test_an_answer_that_did_not_leave_is_found(logs: Logs) -> None:
    logs.receive("made up", decision="REPLY-FORGED")
    (stray,) = logs.verify().strays
    assert stray.what.startswith("an answer of a was received that")
    assert stray.what.endswith("It was refused: REPLY-FORGED.")


def test_what_was_lost_on_the_way_is_told_and_no_fault(logs: Logs) -> None:
    logs.send("lost")
    logs.send("unheard")
    logs.come("unheard")
    logs.leave("unheard answer")
    logs.receive("", error="[NODE-LOST] The node is no longer connected.")
    found = logs.verify()
    assert found.strays == ()
    assert found.notes == ("1 message of the server did not come to a.", "1 answer of a did not come to the server.")


def test_what_could_not_be_compared_is_told(logs: Logs) -> None:
    found = verify_logs([logs.site.path])
    assert found.strays == ()
    assert found.notes == ("3 messages to a were not compared: give the server's log of run.",)


def test_the_command_fails_for_strays(logs: Logs) -> None:
    files = [str(logs.server.path), str(logs.site.path)]
    assert CliRunner().invoke(app, ["audit", "verify", *files]).exit_code == 0
    logs.come("unlogged")
    assert CliRunner().invoke(app, ["audit", "verify", *files]).exit_code == 1
