"""Logs of an exchange on both sides: neither can be changed later without the other's log showing it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict

from medfl.audit.chain import Chain, line_hash, read_chain
from medfl.audit.verify import find_breaks
from medfl.flower import compat
from medfl.grids import auditing
from medfl.grids.auditing import AuditingGrid
from medfl.grids.streaming import StreamingGrid
from medfl.messages import records
from tests.grids.test_retrying import Nodes

PLANTED = "DOE^JANE"


def question(node: int = 3) -> Message:
    compat.identify_process(1, compat.SERVER_NODE_ID)
    content = RecordDict(
        {
            "arrays": records.to_array_record({"w": np.arange(6, dtype=np.float32)}),
            "config": ConfigRecord({records.RUN: "run", records.ROUND: 2, "patient": PLANTED}),
        }
    )
    message = Message(content, dst_node_id=node, message_type="train")
    compat.assign_message_id(message)
    return message


def answer(asked: Message) -> Message:
    compat.identify_process(1, asked.metadata.dst_node_id)
    metrics = MetricRecord({"train.loss": 0.25, "train.patients": 12})
    content = RecordDict({"metrics": metrics, "site": ConfigRecord({"name": "a"}), PLANTED + "\n": MetricRecord({})})
    return Message(content, reply_to=asked)


def test_a_site_notes_names_sizes_hashes_and_the_decision_and_no_value(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "audit.jsonl", "a")
    asked = question()
    auditing.log_received(chain, asked, auditing.ACCEPTED)
    auditing.log_sent(chain, asked, answer(asked))
    text = chain.path.read_text()
    assert PLANTED not in text
    assert "0.25" not in text
    came, left = read_chain(chain.path)
    assert (came["event"], came["decision"], came["run"], came["round"], came["type"]) == (
        "came",
        "accepted",
        "run",
        2,
        "train",
    )
    arrays = came["records"][0]
    assert (arrays["name"], arrays["kind"], arrays["tensors"]) == ("arrays", "arrays", 1)
    assert left["records"][0]["keys"] == ["train.loss", "train.patients"]
    assert left["records"][2]["name"] == "?"  # a name that is none is not written
    assert chain.path.stat().st_mode & 0o077 == 0


def test_a_refusal_and_an_error_are_noted_by_their_code(tmp_path: Path) -> None:
    chain, asked = Chain(tmp_path / "audit.jsonl", "a"), question()
    auditing.log_received(chain, asked, "STUDY-NOT-APPROVED")
    compat.identify_process(1, 3)
    auditing.log_sent(chain, asked, Message(Error(2, f"<class 'ValueError'>:<'{PLANTED}'>"), reply_to=asked))
    came, left = read_chain(chain.path)
    assert came["decision"] == "STUDY-NOT-APPROVED"
    assert left["error"] == "[CLIENT-ERROR] The client app raised an exception (ValueError)."


def test_other_bits_have_another_hash() -> None:
    one, other = question().content, question().content
    assert auditing.summarise(one) == auditing.summarise(other)
    other["arrays"]["w"] = records.to_array(np.arange(6, dtype=np.float32) + 1e-7)  # type: ignore[index]
    assert auditing.summarise(one)[0]["sha256"] != auditing.summarise(other)[0]["sha256"]


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Return the logs of a server and of a site after three exchanges."""
    site = Chain(tmp_path / "site.jsonl", "a")

    class Site(Nodes):
        def pull_messages(self, message_ids: Any) -> Any:
            return [self.done.pop(identifier) for identifier in message_ids if identifier in self.done]

        def _push(self, message: Message) -> str:
            identifier = compat.assign_message_id(message)
            auditing.log_received(site, message, auditing.ACCEPTED)
            reply = answer(message)
            auditing.log_sent(site, message, reply)
            self.done[identifier] = reply
            compat.identify_process(1, compat.SERVER_NODE_ID)
            return identifier

        def get_nodes(self) -> Any:
            return [compat.NodeInfo(node_id=3, name="a")]

    nodes = Site(n3=[])
    nodes.done = {}  # type: ignore[attr-defined]
    grid = StreamingGrid(AuditingGrid(nodes, Chain(tmp_path / "server.jsonl", "server:run")))
    for _ in range(3):
        assert len(list(grid.send_and_receive([question()], timeout=5))) == 1
    return tmp_path / "server.jsonl", tmp_path / "site.jsonl"


def test_what_was_written_is_found_whole_and_both_sides_noted_the_same_hashes(both: tuple[Path, Path]) -> None:
    assert find_breaks(both) == []
    server, site = map(read_chain, both)
    assert [line["event"] for line in server] == ["sent", "received"] * 3
    assert {line["site"] for line in server} == {"a"}
    sent = [line["records"] for line in server if line["event"] == "sent"]
    assert sent == [line["records"] for line in site if line["event"] == "came"]
    received = [line["records"] for line in server if line["event"] == "received"]
    assert received == [line["records"] for line in site if line["event"] == "left"]


def test_nobody_speaks_for_the_log_of_another(tmp_path: Path) -> None:
    site, asked = Chain(tmp_path / "site.jsonl", "a"), question()
    for owner, noted in (("server:run", True), ("b", False), ("server-b", False)):
        asked.content.config_records["config"][records.AUDIT_HEAD] = f"{owner} 7 {'0' * 64}"
        auditing.log_received(site, asked, auditing.ACCEPTED)
        assert bool(read_chain(site.path)[-1]["head"]) is noted

    class Others(Nodes):
        def pull_messages(self, message_ids: Any) -> Any:
            replies = [answer(asked) for _ in message_ids]
            for reply in replies:
                reply.content.config_records["site"][records.AUDIT_HEAD] = f"{self.claimed} 7 {'0' * 64}"  # type: ignore[attr-defined]
            return replies

        def get_nodes(self) -> Any:
            return [compat.NodeInfo(node_id=3, name="a")]

    nodes = Others(n3=["ok", "ok"])
    grid = AuditingGrid(nodes, Chain(tmp_path / "server.jsonl", "server:run"))
    for nodes.claimed, noted in (("a", True), ("b", False)):  # type: ignore[attr-defined]
        (identifier,) = grid.push_messages([asked])
        grid.pull_messages([identifier])
        assert bool(read_chain(tmp_path / "server.jsonl")[-1]["head"]) is noted


def test_two_logs_of_one_owner_are_not_compared_in_silence(both: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(both[1].read_bytes())
    assert [f"another log of the owner of {both[1]};" in found.what for found in find_breaks((*both, copy))] == [True]


def test_who_sends_many_names_does_not_fill_the_log(tmp_path: Path) -> None:
    chain, asked = Chain(tmp_path / "audit.jsonl", "a"), question()
    for k in range(5000):
        asked.content.config_records["config"][f"key-{k}"] = 1
        asked.content[f"record-{k}"] = MetricRecord({})
    auditing.log_received(chain, asked, "STUDY-NOT-APPROVED")
    assert chain.path.stat().st_size < 40_000
    (line,) = read_chain(chain.path)
    assert line["records"][-1] == {"more": 5002 - 100}
    assert line["records"][1]["more"] > 4900


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], *, consistent: bool = False) -> None:
    """Change a log; consistently, as somebody would who knows how it is made."""
    lines = [dict(line) for line in change(read_chain(path))]
    if consistent:
        previous = "0" * 64
        for number, line in enumerate(lines, 1):
            line |= {"n": number, "previous": previous}
            previous = line["hash"] = line_hash(line)
    path.write_text(
        "".join(json.dumps(line, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    )


def edited(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines[2]["decision"] = "BUNDLE-CODE"
    return lines


FORGERIES: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "changed": edited,
    "removed": lambda lines: lines[:2] + lines[3:],
    "moved": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "doubled": lambda lines: [*lines[:3], lines[2], *lines[3:]],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_log_that_was_forged_is_found_by_itself(forgery: str, both: tuple[Path, Path]) -> None:
    rewrite(both[1], FORGERIES[forgery])
    found = find_breaks([both[1]])
    assert found
    assert found[0].file == str(both[1])
    assert len(found) <= {"removed": 1}.get(forgery, 3)  # not one for every line that follows
    assert found[0].line in (2, 3, 4)


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("side", [0, 1])
def test_a_log_that_was_forged_with_new_hashes_is_found_by_what_the_other_side_remembers(
    side: int, forgery: str, both: tuple[Path, Path]
) -> None:
    rewrite(both[side], FORGERIES[forgery], consistent=True)
    assert find_breaks([both[side]]) == []
    assert {found.file for found in find_breaks(both)} >= {str(both[side])}


def test_an_end_that_was_cut_off_is_found_by_what_the_other_side_remembers(both: tuple[Path, Path]) -> None:
    rewrite(both[1], lambda lines: lines[:2])
    assert find_breaks([both[1]]) == []
    assert "its end was cut off" in str(find_breaks(both)[0])
