"""The ledger answers a question once, and keeps the answer for as long as it may be asked again."""

from __future__ import annotations

import os
import shutil
from multiprocessing import get_context
from pathlib import Path

import pytest

from medfl.errors import PolicyError
from medfl.privacy import ledger_rows
from medfl.privacy.kept_answers import answers_folder
from medfl.privacy.ledger import Ledger, ledger_folder
from medfl.site import Site
from medfl.site.federation_settings import SiteFederation
from tests.privacy.asking import HASH, STUDY, answer, ask, reply
from tests.privacy.ledger_steps import again, clock, files, ledger, refusal

__all__ = ["clock", "ledger"]  # fixtures


def test_the_same_question_gets_the_same_answer_in_another_process_too(tmp_path: Path, ledger: Ledger) -> None:
    answer(ledger, ask("train", 1), 0.25)
    for each in (ledger, Ledger(tmp_path / "budget")):
        kept = again(each, ask("train", 1))
        assert kept is not None
        assert str(kept) == str(reply(0.25))
        assert kept.array_records["arrays"]["w"].numpy().tolist() == [0.25] * 3
    assert refusal(ledger, ask("train", 1, "b")) == "QUESTION-ANSWERED"


def test_a_question_is_spent_before_it_is_worked_on(tmp_path: Path, ledger: Ledger) -> None:
    ledger.reserve(HASH, ask("train", 1), STUDY)
    after = Ledger(tmp_path / "budget")
    assert refusal(after, ask("train", 1, "b")) == "QUESTION-ANSWERED"
    answer(after, ask("train", 1))


def test_a_failure_is_spent_for_other_models_alone(ledger: Ledger) -> None:
    ledger.fail(ledger.reserve(HASH, ask("train", 1), STUDY), "LOSS-NONFINITE")
    assert refusal(ledger, ask("train", 1, "b")) == "QUESTION-ANSWERED"
    answer(ledger, ask("train", 1))
    ledger.fail(ledger.reserve(HASH, ask("train", 1), STUDY), "LATE")  # of a slower process
    assert again(ledger, ask("train", 1)) is not None


def test_a_question_that_fails_each_time_is_given_up_until_the_hospital_allows_more(tmp_path: Path, ledger: Ledger) -> None:
    for _ in range(ledger_rows.ATTEMPTS - 1):
        ledger.fail(ledger.reserve(HASH, ask("train", 1), STUDY), "LOSS-NONFINITE")
    ledger.reserve(HASH, ask("train", 1), STUDY)  # and the site is killed
    for each in (ledger, Ledger(tmp_path / "budget")):
        assert refusal(each, ask("train", 1)) == "NOT-ANSWERED"
    assert refusal(ledger, ask("train", 1, "b")) == "QUESTION-ANSWERED"
    assert ledger.allow_attempts("0" * 64) == 0
    assert (ledger.allow_attempts(HASH), ledger.allow_attempts(HASH)) == (1, 0)
    answer(ledger, ask("train", 1))
    for _ in range(ledger_rows.ATTEMPTS + 1):  # of what is kept, it is given as often as it is asked for
        assert again(ledger, ask("train", 1)) is not None


def test_answers_of_earlier_rounds_are_kept_as_hashes(tmp_path: Path, ledger: Ledger) -> None:
    for n in (1, 2):
        answer(ledger, ask("train", n))
    assert files(tmp_path / "budget") == ["train-2"]
    assert refusal(ledger, ask("train", 1)) == "QUESTION-OLD"
    assert again(ledger, ask("train", 2)) is not None


def test_trained_models_go_when_their_arm_is_tested_and_small_answers_stay(tmp_path: Path, ledger: Ledger) -> None:
    for question in (ask("join"), ask("train", 4), ask("validation", 4), ask("test")):
        answer(ledger, question)
    assert files(tmp_path / "budget") == ["join-0", "test-0", "validation-4"]
    assert again(ledger, ask("test")) is not None


def test_a_test_is_kept_when_a_round_that_was_asked_before_it_ends_after_it(ledger: Ledger) -> None:
    slow = ledger.reserve(HASH, ask("train", 1), STUDY)
    answer(ledger, ask("test"), 0.7)
    ledger.settle(slow, reply(0.5))
    assert again(ledger, ask("test")) is not None


def test_a_held_answer_waits_for_a_person(tmp_path: Path, ledger: Ledger) -> None:
    reserved = ledger.reserve(HASH, ask("train", 1), STUDY)
    assert ledger.settle(reserved, reply(0.75), is_held=True).answer is None
    repeated = ledger.reserve(HASH, ask("train", 1), STUDY)
    assert (repeated.answer, repeated.is_held) == (None, True)
    assert ledger.released_answer(reserved) is None
    (waiting,) = ledger.held()
    assert (waiting.run, waiting.item, waiting.study_name) == ("r1", ask("train", 1).item, "tiny")
    assert Ledger(tmp_path / "budget").release(numbers=[waiting.number]) == 1
    assert str(ledger.released_answer(reserved)) == str(reply(0.75))
    assert ledger.held() == ()
    assert ledger.release(numbers=[waiting.number]) == 0


def test_what_another_process_answered_first_is_what_leaves(tmp_path: Path, ledger: Ledger) -> None:
    slow = ledger.reserve(HASH, ask("train", 1), STUDY)
    answer(Ledger(tmp_path / "budget"), ask("train", 1), 0.1)
    assert str(ledger.settle(slow, reply(0.2)).answer) == str(reply(0.1))
    assert files(tmp_path / "budget") == ["train-1"]


@pytest.mark.parametrize("is_held", [False, True])
def test_a_failure_that_comes_after_the_answer_takes_nothing_back(ledger: Ledger, *, is_held: bool) -> None:
    slow = ledger.reserve(HASH, ask("train", 1), STUDY)
    ledger.settle(ledger.reserve(HASH, ask("train", 1), STUDY), reply(0.5), is_held=is_held)
    ledger.fail(slow, "SITE-ERROR")
    repeated = ledger.reserve(HASH, ask("train", 1), STUDY)
    assert (repeated.answer is None, repeated.is_held) == (is_held, is_held)


def test_an_answer_is_kept_with_the_terms_that_it_was_computed_under(ledger: Ledger) -> None:
    first = ledger.reserve(HASH, ask("train", 1), STUDY, "old")
    second = ledger.reserve(HASH, ask("train", 1), STUDY, "new")
    ledger.settle(first, reply(0.5))
    assert ledger.settle(second, reply(0.7)).terms == "old"  # this process was slower
    assert ledger.reserve(HASH, ask("train", 1), STUDY, "new").terms == "old"
    assert ledger.list_asked(HASH, "r1") == ((ask("train", 1).item, "old"),)


def test_reading_makes_nothing(tmp_path: Path, ledger: Ledger) -> None:
    assert (ledger.list_usage(), ledger.held(), ledger.fixed_cases(HASH, "r1")) == ((), (), None)
    assert os.listdir(tmp_path) == []


def test_a_purged_answer_is_old(tmp_path: Path, ledger: Ledger) -> None:
    answer(ledger, ask("join"))
    answer(ledger, ask("train", 1))
    shutil.rmtree(next(answers_folder(tmp_path / "budget").glob("*/*/models")))
    assert again(ledger, ask("join")) is not None
    assert refusal(ledger, ask("train", 1)) == "QUESTION-OLD"
    answer(ledger, ask("train", 2))


def test_models_of_runs_that_ended_long_ago_and_left_overs_go_when_a_run_begins(
    tmp_path: Path, ledger: Ledger, clock: list[float]
) -> None:
    answer(ledger, ask("join"))
    answer(ledger, ask("train", 1))
    left = next((tmp_path / "budget" / "answers").rglob("train*.answer")).with_name("train-1-0.answer")
    left.write_bytes(b"killed")
    os.utime(left, (0, 0))
    clock.append(clock[-1] + 91 * 86400)
    ledger.begin_run(HASH, "tiny", "r2")
    assert files(tmp_path / "budget") == ["join-0"]
    assert refusal(ledger, ask("train", 1)) == "QUESTION-OLD"


def _ask_all(folder: Path, model: str) -> None:
    mine = Ledger(folder)
    for n in range(1, 5):
        try:
            reserved = mine.reserve(HASH, ask("train", n, model), STUDY)
        except PolicyError:
            continue
        if reserved.answer is None:
            mine.settle(reserved, reply(n))


def test_processes_that_ask_at_once_share_one_budget(tmp_path: Path, ledger: Ledger) -> None:
    ledger.begin_run(HASH, "tiny", "r1")
    context = get_context("spawn")
    workers = [context.Process(target=_ask_all, args=(tmp_path / "budget", model)) for model in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert ledger.list_usage()[0].runs[0].answered == 4


def test_the_folder_is_beside_the_site_file(tmp_path: Path) -> None:
    alone = Site(name="north", folder=tmp_path)
    joined = Site(name="north", folder=tmp_path, federation=SiteFederation(server="h:1", budget="record"))
    assert (ledger_folder(alone), ledger_folder(joined)) == (tmp_path / "budget", tmp_path / "record")
