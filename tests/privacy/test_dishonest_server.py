"""A dishonest server against a hospital: what it learned without bounds, and that with them it learns no more than was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.common.serde import recorddict_to_proto

from medfl.clients import node
from medfl.messages import records
from medfl.privacy.information import bound_information
from medfl.privacy.outcomes import SplitSize
from medfl.site import Policy
from tests.privacy.crafted_models import four_numbers, one_number, overflow, two_numbers
from tests.privacy.dishonest_server import EVALUATE, TRAIN, DishonestServer, ExactReader, ImageReader, PayloadReader
from tests.privacy.payload_hospital import PAYLOAD, Payload, plant_in_masked, plant_own, plant_shared, write_study

SIZES = {"train": SplitSize(24, 24, 24), "validation": SplitSize(24, 24, 24), "test": SplitSize(12, 12, 12)}
SHARED = {"classification": plant_shared, "segmentation": plant_in_masked}


@pytest.fixture
def attack(tmp_path: Path) -> Callable[..., DishonestServer]:
    """Return a maker of dishonest servers, each with a hospital of its own."""

    def start(payload: Payload, policy: str = "", **study: object) -> DishonestServer:
        count = len(list(tmp_path.glob("hospital-*")))
        site = payload.write(tmp_path / f"hospital-{count}", policy)
        return DishonestServer(site, write_study(tmp_path / f"study-{count}", **study))

    return start


def test_without_bounds_an_image_is_read_out_of_its_scores(attack: Callable[..., DishonestServer]) -> None:
    payload = plant_own(1)
    reader = ImageReader(attack(payload, 'min-count = 0\nscores = "exact"'))
    pixels = list(PAYLOAD)[::32]
    read = [reader.read(pixel) for pixel in pixels]
    likeness = [np.corrcoef(read, image.ravel()[pixels])[0, 1] for image in payload.images]
    assert max(likeness) > 0.9999


@pytest.mark.parametrize("rounds", [5, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", SHARED)
def test_all_that_a_run_answers_is_less_than_was_told(kind: str, rounds: int, attack: Callable[..., DishonestServer]) -> None:
    payload = SHARED[kind](2)
    server = attack(payload, kind=kind, rounds=rounds)
    told = bound_information(server.study, Policy(), SIZES)
    assert told.bytes_of("scores") <= 200
    reader = PayloadReader(server, payload)
    reader.read_run()
    assert 0.3 * told.content("scores").bits < reader.bits <= told.content("scores").bits


def test_without_rounding_more_is_read_than_was_told(
    attack: Callable[..., DishonestServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "release_scores", lambda scores, *_, **__: scores)
    payload = plant_shared(2)
    server = attack(payload, rounds=4)
    told = bound_information(server.study, Policy(), SIZES)
    reader = ExactReader(server, payload)
    reader.read_run()
    assert reader.bits > told.content("scores").bits


# The list of questions


def test_nothing_is_asked_twice_or_beyond_the_study(attack: Callable[..., DishonestServer]) -> None:
    payload = plant_shared(3)
    server = attack(payload)
    other = two_numbers(server.study, *PAYLOAD[:2])
    assert server.code(TRAIN) == ""
    assert [server.code(TRAIN, other) for _ in range(3)] == ["QUESTION-ANSWERED"] * 3
    assert {server.code(EVALUATE, other, server_round=number) for number in (10**9, -5, 0)} == {"QUESTION-UNKNOWN"}
    assert server.code(EVALUATE, other, split="test", server_round=10**9) == "QUESTION-UNKNOWN"
    assert server.code(EVALUATE, other, split="train") == "SPLIT-UNKNOWN"
    assert server.code(EVALUATE, other, trial=True) == "QUESTION-UNKNOWN"


def test_a_test_before_any_training_ends_the_arm(attack: Callable[..., DishonestServer]) -> None:
    server = attack(plant_shared(3))
    assert server.code(EVALUATE, split="test", server_round=2) == ""
    assert server.code(TRAIN) == server.code(EVALUATE) == "QUESTION-ORDER"
    other = two_numbers(server.study, *PAYLOAD[:2])
    assert server.code(EVALUATE, other, split="test", server_round=3) == "QUESTION-ANSWERED"


def test_an_image_is_not_read_with_what_a_run_may_ask(attack: Callable[..., DishonestServer]) -> None:
    server = attack(plant_own(1), 'min-count = 0\nscores = "exact"')
    answered = 0
    for number in range(40):
        model = two_numbers(server.study, PAYLOAD[number], PAYLOAD[number + 1])
        answered += not server.code(EVALUATE, model, server_round=1 + number % 2, split=("validation", "test")[number % 2])
    assert answered == 2  # one closing validation, one test


@pytest.mark.parametrize("policy", ["", 'score-noise = "2,1e-5"'])
def test_asking_again_averages_nothing_away(policy: str, attack: Callable[..., DishonestServer]) -> None:
    server = attack(plant_shared(4), policy)
    model = two_numbers(server.study, *PAYLOAD[:2])
    answers = [server.scores(model, server_round=2) for _ in range(5)]
    assert answers[1:] == answers[:1] * 4
    assert any(isinstance(value, list) and any(value) for value in answers[0].values())


def test_an_approval_holds_for_three_names_of_a_run(attack: Callable[..., DishonestServer]) -> None:
    server = attack(plant_shared(4))
    model = two_numbers(server.study, *PAYLOAD[:2])
    codes = [server.code(EVALUATE, model, run=f"run-{number}", server_round=2) for number in range(6)]
    assert codes == [""] * 3 + ["RUNS-SPENT"] * 3


# Codes, sizes, sets


@pytest.mark.parametrize("scores", ["none", "headline"])
def test_a_failure_that_depends_on_a_pixel_tells_one_bit(scores: str, attack: Callable[..., DishonestServer]) -> None:
    payload, rounds = plant_shared(5), 6
    server = attack(payload, f'scores = "{scores}"', rounds=rounds)
    codes = []
    for number in range(1, rounds + 1):
        bright = overflow(server.study, PAYLOAD[number], 0.5)
        codes.append(server.code(TRAIN, bright, server_round=number))
        assert server.code(TRAIN, bright, server_round=number) == codes[-1]
        if codes[-1]:
            narrower = overflow(server.study, PAYLOAD[number], 0.75)
            assert server.code(TRAIN, narrower, server_round=number) == "QUESTION-ANSWERED"
    assert set(codes) <= {"", "NOT-ANSWERED"}
    is_bright = [payload.values[PAYLOAD[number]] > 127 for number in range(1, rounds + 1)]
    assert [code == "NOT-ANSWERED" for code in codes] == is_bright  # the one bit that an approval counts for each question


def test_the_size_of_an_answer_is_the_same_whatever_it_says(attack: Callable[..., DishonestServer]) -> None:
    server = attack(plant_shared(6), rounds=4)
    models = [two_numbers(server.study, *PAYLOAD[number : number + 2]) for number in range(4)]
    replies = [server.ask(TRAIN, model, server_round=number) for number, model in enumerate(models, start=1)]
    sizes = {len(recorddict_to_proto(reply.content).SerializeToString()) for reply in replies}
    assert len(sizes) == 1


def test_two_studies_whose_tests_differ_by_few_patients_are_not_both_answered(attack: Callable[..., DishonestServer]) -> None:
    server = attack(plant_shared(7), test=0.2)
    assert [server.code(records.JOIN), server.code(EVALUATE, split="test", server_round=3)] == ["", ""]
    near = server.with_study(write_study(server.site.parent / "near", test=0.25))  # a few patients more
    codes = [near.code(records.JOIN), near.code(TRAIN), near.code(EVALUATE, split="test", server_round=3)]
    assert codes == ["NOT-ANSWERED"] * 3


@pytest.mark.parametrize("policy", ["", "max-step = 0\n"])
@pytest.mark.parametrize("crafted", ["two numbers", "four numbers", "one number", "overflow"])
def test_crafted_models_raise_an_alarm(crafted: str, policy: str, attack: Callable[..., DishonestServer]) -> None:
    """Also where a hospital takes a step of any size: the filters and the range of the weights are seen alone."""
    kind = "segmentation" if crafted == "one number" else "classification"
    payload = SHARED[kind](8)
    server = attack(payload, policy + "on-alarm-refuse = true", kind=kind)
    models = {
        "two numbers": lambda: two_numbers(server.study, *PAYLOAD[:2]),
        "four numbers": lambda: four_numbers(server.study, PAYLOAD[:2], PAYLOAD[2:4]),
        "one number": lambda: one_number(server.study, payload, 3),
        "overflow": lambda: overflow(server.study, PAYLOAD[0], 0.5),
    }
    assert server.code(TRAIN) == ""
    assert server.code(TRAIN, models[crafted](), server_round=2) == "NOT-ANSWERED"
