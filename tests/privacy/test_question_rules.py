from __future__ import annotations

from collections.abc import Sequence

import pytest

from medfl.errors import PolicyError
from medfl.privacy.question_rules import Asked, check_question
from medfl.privacy.questions import Item, Question, find_allowance
from medfl.study import Study
from medfl.testing.sites import make_study

COMMON, CYCLIC = make_study(), make_study(strategy={"name": "cyclic"})
SHAPLEY = make_study(contribution={"method": "shapley"}, strategy={"max-sites": 2})
BOTH = make_study(arms="federated,local", strategy={"max-sites": 2})


def said(what: str, study: Study, before: Sequence[Asked] = ()) -> str:
    """Return "yes", or the code of the refusal, for a question written as "train 3 a"."""
    item, digest = parse(what)
    try:
        check_question(Question(item, "run", digest, find_allowance(study, item).models), study, before)
    except PolicyError as error:
        return error.code
    return "yes"


def parse(what: str) -> tuple[Item, str]:
    kind, server_round, digest = what.split()
    arm = "local" if digest.startswith("local") else "federated"
    return Item(arm, kind, int(server_round)), digest  # type: ignore[arg-type]


def answered(*what: str) -> list[Asked]:
    return [Asked(*parse(each), is_answered=True) for each in what]


def unanswered(*what: str) -> list[Asked]:
    return [Asked(*parse(each), is_answered=False) for each in what]


@pytest.mark.parametrize("study", [COMMON, CYCLIC])
def test_a_round_is_trained_once(study: Study) -> None:
    assert said("train 1 a", study) == "yes"
    assert said("train 1 b", study, answered("train 1 a")) == "QUESTION-ANSWERED"
    assert said("train 1 b", study, unanswered("train 1 a")) == "QUESTION-ANSWERED"
    assert said("train 1 a", study, unanswered("train 1 a")) == "yes"  # the site was stopped in the middle of it


def test_rounds_may_be_missed_but_not_come_back() -> None:
    assert said("train 3 a", COMMON, answered("train 1 a")) == "yes"
    assert said("train 2 a", COMMON, answered("train 1 a", "train 3 a")) == "QUESTION-ORDER"
    assert said("train 2 a", COMMON, [*unanswered("train 2 a"), *answered("train 3 a")]) == "QUESTION-ORDER"


def test_what_failed_is_not_kept_open_while_earlier_rounds_are_trained() -> None:
    """Whether it fails may depend on what a site keeps of its training: after each round it would tell another bit."""
    assert said("train 3 a", COMMON, unanswered("train 3 a")) == "yes"
    assert said("train 2 a", COMMON, unanswered("train 3 a")) == "QUESTION-ORDER"


def test_what_comes_later_and_has_no_answer_leaves_the_rest_of_its_round_open() -> None:
    assert said("train 1 a", CYCLIC, unanswered("validation 1 a")) == "yes"
    assert said("train 1 a", CYCLIC, answered("validation 1 a")) == "QUESTION-ORDER"


def test_within_a_round_scoring_comes_after_training() -> None:
    assert said("validation 1 a", CYCLIC, answered("train 1 a")) == "yes"
    assert said("train 1 a", CYCLIC, answered("validation 1 a")) == "QUESTION-ORDER"
    assert said("train 2 a", CYCLIC, answered("validation 1 a")) == "yes"


def test_contributions_are_measured_of_as_many_models_as_the_study_says() -> None:
    asked = [f"contribution 1 {k}" for k in range(4)]
    assert said("contribution 1 new", SHAPLEY, answered(*asked[:3])) == "yes"
    assert said("contribution 1 new", SHAPLEY, answered(*asked)) == "QUESTION-ANSWERED"
    assert said("contribution 2 new", SHAPLEY, answered(*asked)) == "yes"


def test_the_closing_validation_ends_the_training_of_its_arm() -> None:
    """A study with a common start asks it once: after the last round, which may come early."""
    before = answered("train 1 a", "validation 2 b")
    assert said("train 3 c", COMMON, before) == "QUESTION-ORDER"
    assert said("validation 3 c", COMMON, before) == "QUESTION-ORDER"
    assert said("validation 3 c", COMMON, unanswered("validation 2 b")) == "QUESTION-ORDER"
    assert said("validation 2 b", COMMON, unanswered("validation 2 b")) == "yes"
    assert said("contribution 4 c", SHAPLEY, before) == "QUESTION-ORDER"
    assert said("test 0 c", COMMON, before) == "yes"


@pytest.mark.parametrize("study", [COMMON, CYCLIC])
@pytest.mark.parametrize("test", [answered("test 0 a"), unanswered("test 0 a")])
def test_a_test_ends_its_arm(study: Study, test: list[Asked]) -> None:
    for what in ("train 4 b", "validation 4 b", "train 4 a"):
        assert said(what, study, test) == "QUESTION-ORDER"
    assert said("test 0 b", study, test) == "QUESTION-ANSWERED"


def test_the_local_arm_tests_one_model_of_each_hospital() -> None:
    assert said("test 0 local-b", BOTH, answered("test 0 local-a")) == "yes"
    assert said("test 0 local-c", BOTH, answered("test 0 local-a", "test 0 local-b")) == "QUESTION-ANSWERED"
    assert said("train 2 local-c", BOTH, answered("validation 1 local-b")) == "QUESTION-ORDER"


def test_what_the_study_does_not_ask_has_no_allowance() -> None:
    with pytest.raises(PolicyError, match="QUESTION-UNKNOWN"):
        find_allowance(COMMON, Item("federated", "contribution", 1))
