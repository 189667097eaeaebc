"""The table `start` of a study: whole or not there, and with what it cannot go together."""

from __future__ import annotations

from typing import Any

import pytest

from medfl.errors import ConfigError
from medfl.study.study_json import study_from_json
from medfl.testing.sites import make_study

START = {"file": "model.pt", "sha256": "1" * 64, "arrays": "2" * 64}


def problem(**tables: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make_study(**tables)
    return str(caught.value)


def test_a_study_without_one_keeps_its_hash_and_one_with_it_has_another() -> None:
    plain, begun = make_study(), make_study(start=START)
    assert "start" not in plain.model_dump()
    assert plain.approved_hash() != begun.approved_hash()
    assert make_study(start={**START, "arrays": "3" * 64}).approved_hash() != begun.approved_hash()
    assert study_from_json(begun.model_dump(mode="json", by_alias=True)) == begun


@pytest.mark.parametrize("file", ["/data/model.pt", "../model.pt", "C:\\model.pt", "a/../../b.pt"])
def test_a_file_lies_in_the_study_or_in_the_library(file: str) -> None:
    assert "must be a path inside of the study's folder" in problem(start={**START, "file": file})


@pytest.mark.parametrize("key", ["name", "source", "licence"])
@pytest.mark.parametrize("text", ["a\nleaves  nothing", "\x1b[2K", "\x9b2K", "a\u2028b", "\u202etxet", "x" * 301])
def test_what_a_hospital_reads_of_the_origin_cannot_forge_other_lines(key: str, text: str) -> None:
    assert "one line of at most 300 characters" in problem(start={**START, key: text})


def test_what_does_not_go_with_a_start_is_refused() -> None:
    assert "medfl study start STUDY MODEL" in problem(start={"file": "model.pt"})
    assert "'medfl study start STUDY MODEL' writes the whole table" in problem(start={"name": "model"})
    assert "'batch-frozen' keeps the batch norm of start weights" in problem(network={"norm": "batch-frozen"})
    assert "could not be verified" in problem(start=START, strategy={"name": "cyclic"})
    frozen = {"network": {"norm": "batch-frozen"}, "strategy": {"name": "scaffold"}, "optimizer": {"name": "sgd"}}
    assert "whose control variates" in problem(start=START, **frozen)
    assert "would not begin with the file" in problem(start=START, strategy={"name": "fedbn"})
    assert "say so with head = 'new'" in problem(start=START, strategy={"name": "fedper"})
    assert make_study(start={**START, "head": "new"}, strategy={"name": "fedper"}).start.is_given


def test_the_first_model_is_sent_whole_where_a_part_of_it_is_trained() -> None:
    assert make_study(start=START, training={"tune": "head"}).sends_start
    assert not make_study(start=START).sends_start
    assert not make_study(training={"tune": "head"}).sends_start
