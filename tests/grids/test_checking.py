"""A hospital that claims what cannot be is left out, with the rule; honest replies pass as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from medfl.flower import compat
from medfl.grids import checking
from medfl.grids.checking import CheckingGrid
from medfl.grids.grid_wrapper import GridWrapper
from medfl.messages import counts, records
from medfl.messages.records import Metrics
from medfl.metrics import as_personal, classification_metrics, segmentation_metrics
from medfl.metrics.segmentation import CaseScore
from medfl.privacy.released_scores import release_scores
from medfl.privacy.score_noise import ScoreNoise
from medfl.site import Policy
from medfl.study import Study
from medfl.testing.sites import make_study

NODE = 3
JOINED: Metrics = {
    **{f"join.{split}-patients": count for split, count in (("train", 40), ("validation", 24), ("test", -10))},
    **{f"join.{split}-cases": count for split, count in (("train", 80), ("validation", 48), ("test", -20))},
}
TRAINED: Metrics = {
    records.TRAIN_PATIENTS: 40,
    records.TRAIN_SAMPLES: 80,
    records.TRAIN_STEPS: 4,
    records.TRAIN_LOSS: float("nan"),  # hidden
    records.TRAIN_SECONDS: 2.0,
}


class Site(GridWrapper):
    """A site that answers as it is told."""

    def __init__(self) -> None:
        self.content = RecordDict()
        self.asked: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        identifiers = [compat.assign_message_id(message) for message in messages]
        self.asked |= dict(zip(identifiers, messages, strict=True))
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [Message(self.content, reply_to=self.asked[identifier]) for identifier in message_ids]


class Round:
    """A run with one site that has joined."""

    def __init__(self, study: Study, joined: Metrics = JOINED) -> None:
        compat.identify_process(7, compat.SERVER_NODE_ID)
        self.site = Site()
        self.grid = CheckingGrid(self.site, study)
        self.ask(records.JOIN, joined)

    def ask(self, kind: str, metrics: Metrics, split: str = "validation", **more: Any) -> str:
        """Ask the site; return the code with which its reply is left out, "" when it counts."""
        model = records.to_array_record({"w": np.zeros(100, np.float32)})
        config = ConfigRecord({records.SPLIT: split})
        message = Message(RecordDict({"arrays": model, "config": config}), dst_node_id=NODE, message_type=kind)
        self.site.content = RecordDict({"metrics": MetricRecord(metrics), "site": ConfigRecord({}), **more})
        (identifier,) = self.grid.push_messages([message])
        (reply,) = self.grid.pull_messages([identifier])
        return reply.error.reason.partition("]")[0].lstrip("[") if reply.has_error() else ""


def masks(patients: int = 24, seed: int = 0) -> Metrics:
    draw = np.random.default_rng(seed)
    scores = [
        (f"pat-{k}", {"organ": CaseScore(*draw.random(3).tolist(), missed=k < 11, false_positive=k == 13, present=k < 12)})
        for k in range(patients)
    ]
    return segmentation_metrics(scores, ["organ"], 0.6)


def classes(patients: int = 24, seed: int = 0) -> Metrics:
    draw = np.random.default_rng(seed)
    labels = [k % 2 for k in range(2 * patients)]
    people = [f"pat-{k // 2}" for k in range(2 * patients)]
    return classification_metrics(people, labels, draw.dirichlet(np.ones(2), 2 * patients), CLASSES.task.classes, 0.6)


MASKS, CLASSES = make_study("segmentation"), make_study("classification")
KINDS: Any = pytest.mark.parametrize(("study", "score"), [(MASKS, masks), (CLASSES, classes)], ids=["masks", "classes"])
POLICIES = [Policy(scores=mode, min_count=k) for mode in ("headline", "all", "exact", "none") for k in (0, 5, 10)]


@KINDS
@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("noise", [None, ScoreNoise(4.0, b"k")], ids=["", "noise"])
def test_honest_replies_pass_whatever_their_policy_hides(
    study: Study, score: Callable[..., Metrics], policy: Policy, noise: ScoreNoise | None
) -> None:
    for seed in range(5):
        for split in ("validation", "test"):
            patients = 24 if split == "validation" else 9
            evaluation = score(patients, seed)
            reply = release_scores(TRAINED | evaluation, study, policy, split, noise)  # type: ignore[arg-type]
            if split == "validation":
                assert Round(study).ask("train", reply) == ""
            released = release_scores(evaluation, study, policy, split, noise)  # type: ignore[arg-type]
            assert Round(study).ask("evaluate", released | as_personal(released), split) == ""


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ({records.TRAIN_PATIENTS: 10**6}, "COUNT-TOLD"),
        ({records.TRAIN_PATIENTS: 41}, "COUNT-TOLD"),
        ({records.TRAIN_SAMPLES: 81}, "COUNT-TOLD"),
        ({records.TRAIN_STEPS: 10**9}, "COUNT-TOLD"),
        ({records.EVAL_PATIENTS: 25}, "COUNT-TOLD"),
        ({records.TRAIN_PATIENTS: 12.5}, "METRICS-RANGE"),
        ({records.TRAIN_PATIENTS: -1}, "METRICS-RANGE"),
        ({records.TRAIN_LOSS: float("inf")}, "METRICS-RANGE"),
        ({records.TRAIN_LOSS: -0.5}, "METRICS-RANGE"),
        ({"eval.loss": float("nan")}, "METRICS-RANGE"),
        ({"eval.loss": 1e9}, "METRICS-RANGE"),
        ({"eval.dice.organ": 1.2}, "METRICS-RANGE"),
        ({"eval.hd95.organ": 1e6}, "METRICS-RANGE"),
        ({"eval.present.organ": 25}, "METRICS-SUM"),
        ({"eval.patients.organ": 25}, "METRICS-SUM"),
        ({f"metric-{n}": 1 for n in range(200_000)}, "REPLY-SIZE"),
        ({"further": [0.0] * 3}, "METRICS-UNKNOWN"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_segmentation_that_cannot_be_is_left_out(claim: Metrics, code: str) -> None:
    assert Round(MASKS).ask("train", TRAINED | masks() | claim) == code


@pytest.mark.parametrize(
    ("claim", "code"),
    [
        ({"eval.confusion": [24, 0, 0, 25]}, "METRICS-SUM"),
        ({"eval.confusion": [240, 0, 0, 240]}, "METRICS-SUM"),
        ({"eval.calibration-count": [49] + [0] * 14}, "METRICS-SUM"),
        ({"eval.calibration-correct": [0] * 14 + [400]}, "METRICS-SUM"),
        ({"eval.confusion": [float("nan"), 0.0, 0.0, 48.0]}, "METRICS-RANGE"),
        ({"eval.confusion": [-1, 25, 0, 24]}, "METRICS-RANGE"),
        ({"eval.confusion": 48}, "METRICS-RANGE"),  # no list: left out, and not the end of the run
        ({"eval.calibration-correct": 48}, "METRICS-RANGE"),
        ({"eval.positives.yes": 24.0}, "METRICS-RANGE"),
        ({records.EVAL_PATIENTS: 10}, "METRICS-SUM"),
        ({"eval.samples": 49}, "COUNT-TOLD"),
        ({"eval.positives.yes": [0] * 100_000}, "METRICS-UNKNOWN"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_classification_that_cannot_be_is_left_out(claim: Metrics, code: str) -> None:
    assert Round(CLASSES).ask("evaluate", classes() | claim) == code


def test_a_hidden_count_is_an_upper_limit() -> None:
    """The test patients were told as fewer than 10."""
    assert Round(MASKS).ask("evaluate", masks(9), "test") == ""
    assert Round(MASKS).ask("evaluate", masks(10), "test") == "COUNT-TOLD"


def test_a_personal_models_scores_are_checked_as_well() -> None:
    assert Round(MASKS).ask("evaluate", masks() | as_personal(masks() | {"eval.dice.organ": 7.0})) == "METRICS-RANGE"


@pytest.mark.parametrize(
    "content",
    [
        {f"record-{n}": ConfigRecord({}) for n in range(30)},
        {"more": records.to_array_record({"w": np.zeros(10_000_000, np.float32)})},  # 40 MB; the model has 400 bytes
        {"notes": ConfigRecord({"text": "x" * 200_000})},
        {"notes": ConfigRecord({f"key-{n}": 1 for n in range(50_000)})},
    ],
    ids=["records", "arrays", "text", "keys"],
)
def test_a_reply_beyond_all_of_the_study_is_left_out(content: dict[str, Any]) -> None:
    assert Round(MASKS).ask("train", TRAINED | masks(), **content) == "REPLY-SIZE"


def test_no_hospital_has_the_weight_to_itself_by_its_loss() -> None:
    """q-FFL weighs hospitals by their losses."""
    study = make_study("segmentation", strategy={"name": "qfedavg"})
    for key in (records.TRAIN_LOSS, records.TRAIN_LOSS_BEFORE):
        assert Round(study).ask("train", TRAINED | masks() | {key: 10 * study.max_loss}) == ""
        assert Round(study).ask("train", TRAINED | masks() | {key: 1e300}) == "METRICS-RANGE"


def test_many_names_without_a_value_are_left_out() -> None:
    empty = records.to_array_record({f"{'n' * 100}-{n}": np.zeros(0, np.float32) for n in range(20_000)})
    assert Round(MASKS).ask("train", TRAINED | masks(), more=empty) == "REPLY-SIZE"
    assert Round(MASKS).ask(records.JOIN, JOINED | {f"metric-{n}": 1 for n in range(20_000)}) == "REPLY-SIZE"


def test_a_first_model_that_is_sent_alone_allows_no_larger_replies() -> None:
    site = Round(MASKS)
    whole = records.to_array_record({"weight": np.zeros(3_000_000, np.float32)})
    joining = Message(RecordDict({records.START: whole}), dst_node_id=NODE, message_type=records.JOIN)
    list(site.grid.push_messages([joining]))
    assert site.ask("train", TRAINED | masks(), more=whole) == "REPLY-SIZE"


def test_what_a_site_told_is_no_more_when_it_joins_again() -> None:
    site = Round(MASKS)
    assert site.ask(records.JOIN, JOINED | {"join.train-patients": 4000, "join.train-cases": 8000}) == ""
    assert site.ask("train", TRAINED | masks() | {records.TRAIN_PATIENTS: 41}) == "COUNT-TOLD"


def test_a_client_that_told_nothing_cannot_claim_just_anything() -> None:
    site = Round(MASKS)
    site.grid._told.clear()
    assert site.ask("train", TRAINED | masks()) == ""
    assert site.ask("train", TRAINED | masks() | {records.TRAIN_PATIENTS: 10**15}) == "METRICS-RANGE"


@pytest.mark.parametrize("claim", [10**9, 12.5, [3]], ids=str)
def test_who_joins_with_impossible_counts_does_not_join(claim: Any) -> None:
    site = Round(MASKS)
    assert site.ask(records.JOIN, JOINED | {"join.train-patients": claim}) == "JOIN-UNREADABLE"


def test_an_algorithm_of_another_package_may_tell_a_few_metrics_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "ALGORITHMS", {})
    own: Metrics = {f"another.{n}": 1.0 for n in range(5)}
    assert Round(MASKS).ask("train", TRAINED | masks() | own) == ""
    assert Round(MASKS).ask("train", TRAINED | masks() | {f"another.{n}": 1.0 for n in range(100)}) == "METRICS-UNKNOWN"
    assert Round(MASKS).ask("train", TRAINED | masks() | {records.TRAIN_PATIENTS: 41}) == "COUNT-TOLD"


def test_more_codes_than_there_can_be_are_no_counts() -> None:
    with pytest.raises(ValueError, match="not counts"):
        counts.from_text(",".join(f"CODE-{n}=1" for n in range(20_000)))
