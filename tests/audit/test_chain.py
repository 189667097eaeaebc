"""A chain that several processes write, and that a crash or somebody's change left damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medfl.audit.chain import Chain, read_chain
from medfl.audit.verify import find_breaks
from medfl.errors import AuditError, RunError


def test_a_torn_last_line_is_cut_off_and_noted(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "audit.jsonl", "a")
    chain.append({"event": "one"})
    with chain.path.open("ab") as file:
        file.write(b'{"event":"half')
    assert "not complete" in str(find_breaks([chain.path])[0])
    chain.append({"event": "two"})
    assert [line["event"] for line in read_chain(chain.path)] == ["one", "torn-line-cut", "two"]
    assert find_breaks([chain.path]) == []


def test_nothing_is_added_to_a_broken_chain(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "audit.jsonl", "a")
    chain.append({"event": "one"})
    chain.path.write_text(chain.path.read_text().replace("one", "two"))
    with pytest.raises(AuditError, match="AUDIT-DAMAGED"):
        chain.append({"event": "three"})


def test_several_processes_may_write_one_chain(tmp_path: Path) -> None:
    children = []
    for k in range(4):
        if (child := os.fork()) == 0:
            chain = Chain(tmp_path / "audit.jsonl", "a")
            for number in range(25):
                chain.append({"event": f"{k}-{number}"})
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert len(read_chain(tmp_path / "audit.jsonl")) == 100
    assert find_breaks([tmp_path / "audit.jsonl"]) == []


def test_a_line_that_came_half_onto_a_full_disk_is_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(tmp_path / "audit.jsonl", "hospital-a")
    head, write = chain.append({"event": "one"}), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, text: write(descriptor, text[: len(text) // 2]))
    with pytest.raises(RunError, match="DISK-FULL"):
        chain.append({"event": "two"})
    monkeypatch.setattr(os, "write", write)
    assert chain.head == head
    chain.append({"event": "three"})
    assert [line["event"] for line in read_chain(chain.path)] == ["one", "torn-line-cut", "three"]
