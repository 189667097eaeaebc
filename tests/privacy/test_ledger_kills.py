"""A site is killed at each write of its ledger: it never counts less than it told, and the run goes on afterwards."""

from __future__ import annotations

import random
import shutil
import signal
from collections import defaultdict
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from medfl.errors import PolicyError
from medfl.privacy.ledger import Ledger
from tests.privacy.asking import HASH, STUDY, ask
from tests.privacy.killed_site import answer_run, list_questions, read_notes

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.privacy.killed_site"])
_QUESTIONS = len(list_questions(""))


def run_killed(folder: Path, run: str, **how: Any) -> bool:
    """Go on with a run in a process of its own, and return whether it was killed before the end."""
    process = _CONTEXT.Process(target=answer_run, args=(folder, run), kwargs=how)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL, -signal.SIGALRM)
    return process.exitcode != 0


def check_counted(folder: Path, run: str) -> None:
    """What was begun is spent, and what left is on record: with the same bits for the same question."""
    ledger = Ledger(folder / "budget")
    begun, left = read_notes(folder, "began"), read_notes(folder, "left")
    answers = defaultdict(set)
    for said in left:
        answers[said["question"]].add(said["answer"])
    assert all(len(each) == 1 for each in answers.values())
    for said in begun:
        of_run, kind, server_round = said["question"].split()
        if of_run == run and kind != "join":
            with pytest.raises(PolicyError, match="QUESTION-"):
                ledger.reserve(HASH, ask(kind, int(server_round), "another model", run=run), STUDY)  # type: ignore[arg-type]
    usage = ledger.list_usage()
    asked = {each.run: each for each in usage[0].runs} if usage else {}
    for each in {name.split()[0] for name in answers}:
        assert asked[each].answered >= len([name for name in answers if name.split()[0] == each])


def check_complete(folder: Path, run: str) -> None:
    check_counted(folder, run)
    usage = {each.run: each for each in Ledger(folder / "budget").list_usage()[0].runs}[run]
    assert (usage.answered, usage.unanswered) == (_QUESTIONS, 0)
    assert len([said for said in read_notes(folder, "left") if said["question"].split()[0] == run]) == _QUESTIONS


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.long)], ids=["some", "each"])
def test_a_question_survives_a_kill_at_its_writes(tmp_path: Path, step: int) -> None:
    (tmp_path / "before").mkdir()
    answer_run(tmp_path / "before", "r1", questions=2)
    for write in count(1, step):
        folder = shutil.copytree(tmp_path / "before", tmp_path / str(write))
        if not run_killed(folder, "r1", questions=1, at_write=write):
            break
        check_counted(folder, "r1")
        answer_run(folder, "r1", questions=1)
        check_counted(folder, "r1")
        assert len(read_notes(folder, "left")) == 3
    assert write > 30


@pytest.mark.long
def test_a_run_survives_a_kill_at_each_of_its_writes(tmp_path: Path) -> None:
    for write in count(1):
        folder = tmp_path / str(write)
        folder.mkdir()
        if not run_killed(folder, "r1", at_write=write):
            break
        check_counted(folder, "r1")
        run_killed(folder, "r1")
        check_complete(folder, "r1")
    assert write > 200


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.long)], ids=["some", "200"])
def test_a_site_that_is_killed_at_any_moment_goes_on(tmp_path: Path, kills: int) -> None:
    rng = random.Random(0)
    Ledger(tmp_path / "budget").allow_runs(HASH, STUDY.name, 1000)
    killed, number = 0, 0
    while killed < kills:
        run = f"r{number}"
        if run_killed(tmp_path, run, after_seconds=rng.uniform(0.001, 0.15)):
            killed += 1
            check_counted(tmp_path, run)
        else:
            check_complete(tmp_path, run)
            number += 1
    run_killed(tmp_path, f"r{number}")
    check_complete(tmp_path, f"r{number}")
