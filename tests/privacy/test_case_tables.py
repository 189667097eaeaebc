"""Tables of cases stay where the images are: nothing of them is in any message, and nobody's identity is in them."""

from __future__ import annotations

import pickle
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Message, MessageType
from flwr.common.serde import message_to_proto

from medfl.clients.tasks import classification_task
from medfl.messages import records
from medfl.runs.case_table import CaseResult, read_case_table
from medfl.system import files
from tests.clients.real_node import Node
from tests.privacy.test_privacy import STUDY, _replies

QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    (records.JOIN, {}),
    (MessageType.TRAIN, {}),
    (MessageType.EVALUATE, {"server_round": 2}),
    (MessageType.EVALUATE, {"split": "test", "server_round": 3}),
)
CANARY, CANARY_NUMBER = "case-CANARYCANARY", 0.27182818284590


@pytest.fixture
def site(nodule_study: Path, nodule_hospitals: Path) -> Node:
    return Node.of_study(nodule_hospitals / "hospital-1" / "site.toml", nodule_study)


def numbers_of(replies: Sequence[Message]) -> Iterator[float]:
    """Yield every number of some messages that is no weight of a model."""
    for reply in replies:
        for record in reply.content.values():
            for value in record.values() if not isinstance(record, ArrayRecord) else ():
                yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int | float))


def sent(replies: Sequence[Message]) -> bytes:
    return b"".join(pickle.dumps(reply) + message_to_proto(reply).SerializeToString() for reply in replies)


def tables_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("cases.csv"))


def test_nothing_of_the_table_of_a_hospital_is_in_a_message(
    site: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = classification_task.classification_result

    def plant(case: str, *about: Any) -> CaseResult:
        made = make(case, *about)
        return CaseResult(f"{CANARY}-{case}", made.patient, {}, made.truth, made.predicted, {"clear": CANARY_NUMBER})

    monkeypatch.setattr(classification_task, "classification_result", plant)
    replies = [site.ask(kind, **config) for kind, config in QUESTIONS]
    assert not any(reply.has_error() for reply in replies)
    (file,) = tables_below(tmp_path / "store")
    written = file.read_text()
    results = read_case_table(file).results
    assert len(results) > 1
    assert all(result.case.startswith(CANARY) for result in results)
    assert "0.271828" in written
    text = sent(replies)
    names = [name for result in results for name in (result.case, result.patient)]
    assert [name for name in names if name.encode() in text] == []
    assert b"CANARY" not in text
    assert b"cases.csv" not in text
    assert CANARY_NUMBER not in set(numbers_of(replies))


def test_pseudonyms_of_the_cases_are_in_no_message_either(site: Node, tmp_path: Path) -> None:
    replies = [site.ask(kind, **config) for kind, config in QUESTIONS]
    (file,) = tables_below(tmp_path / "store")
    names = {name for result in read_case_table(file).results for name in (result.case, result.patient)}
    assert len(names) > 2
    assert all(re.fullmatch(r"(case|pat)-[A-Z2-7]{10,16}", name) for name in names)
    assert [name for name in names if name.encode() in sent(replies)] == []


@pytest.mark.parametrize("previews", ["true", "false"])
def test_a_hospital_keeps_the_table_for_itself_and_pictures_where_its_policy_says_so(
    site: Node, tmp_path: Path, previews: str
) -> None:
    site.edit_site("previews = true", f"previews = {previews}")
    site.ask(records.JOIN)
    site.ask(MessageType.EVALUATE, split="test", server_round=3)
    (file,) = tables_below(tmp_path / "store")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (file.parent, *file.parent.rglob("*"))}
    assert [name for name, mode in modes.items() if mode & 0o077] == []
    pictures = {path.stem for path in file.parent.glob("case-pictures/*.npz")}
    assert pictures == ({result.case for result in read_case_table(file).results} if previews == "true" else set())


def test_a_hospital_takes_no_path_from_a_server(site: Node, tmp_path: Path) -> None:
    site.ask(records.JOIN)
    site.ask(MessageType.EVALUATE, split="test", server_round=3, run_folder=str(tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere").exists()
    assert tables_below(tmp_path / "store")


def test_a_validation_leaves_no_table(site: Node, tmp_path: Path) -> None:
    site.ask(records.JOIN)
    site.ask(MessageType.EVALUATE, server_round=2)
    assert tables_below(tmp_path / "store") == []


@pytest.mark.parametrize("partition", [0, 2])
def test_tables_of_simulated_sites_name_nobody(partition: int, canaries: Any, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "pyproject.toml").write_text(STUDY)
    replies = list(_replies(canaries.folder, study, tmp_path, partition))
    (file,) = tables_below(tmp_path / "run")
    names = {name for result in read_case_table(file).results for name in (result.case, result.patient)}
    assert [name for name in names if name.encode() in sent(replies)] == []
    assert canaries.found_below(tmp_path / "run") == {}


def test_a_full_disk_costs_the_table_and_not_the_test(
    site: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = files.write_file

    def fail(path: Path, *content: Any, **how: Any) -> None:
        if path.name == "cases.csv":
            raise OSError(28, "No space left on device")
        write(path, *content, **how)

    site.ask(records.JOIN)
    monkeypatch.setattr(files, "write_file", fail)
    assert not site.ask(MessageType.EVALUATE, split="test", server_round=3).has_error()
    assert "[CASES-NOT-KEPT] the disk is full" in caplog.text
