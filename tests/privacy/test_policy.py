"""A hospital's policy: for each rule, a server that asks for too much gets a refusal and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict

from medfl.client_app import app
from medfl.clients.initial_model import build_initial_models
from medfl.clients.training.interrupts import stop_when
from medfl.errors import PolicyError, safe_sentence
from medfl.flower import compat
from medfl.messages import records
from medfl.privacy import policy_checks
from medfl.site import Policy
from medfl.study import read_run_config, study_from_run_config

SERVER = 1
SECRET_WORDS = ("hospital-1", "patients are fewer", "/tmp", "this site works")


class Hospital:
    """A site that gets messages as from a server."""

    def __init__(self, folder: Path, study: Path, **terms: Any) -> None:
        self.site, self.study = folder / "site.toml", study
        text = self.site.read_text()
        lines = [f"{key.replace('_', '-')} = {value!r}".replace("'", '"') for key, value in terms.items()]
        self.site.write_text(text.replace("[policy]\n", "[policy]\n" + "\n".join(lines) + "\n"))

    def ask(self, kind: str, server_round: int = 1, arm: str = "federated", **changes: Any) -> Message:
        config = read_run_config(self.study) | changes
        study = study_from_run_config(config)
        values = ConfigRecord({records.ROUND: server_round, records.RUN: "run", records.EXCHANGE: "x1", records.ARM: arm})
        values[records.SPLIT] = "validation"
        model: ArrayRecord = build_initial_models(study)[records.INITIAL]
        compat.identify_process(7, SERVER)
        sent = {} if kind == JOIN else {records.ARRAYS: model}
        message = Message(RecordDict({**sent, records.CONFIG: values}), dst_node_id=5, message_type=kind)
        compat.assign_message_id(message)
        compat.identify_process(7, 5)
        return app(message, Context(7, 5, {"site": str(self.site)}, RecordDict(), config))


@pytest.fixture
def hospital(nodule_hospitals: Path, nodule_study: Path) -> Callable[..., Hospital]:
    return lambda **terms: Hospital(nodule_hospitals / "hospital-1", nodule_study, **terms)


TRAIN, EVALUATE, JOIN = MessageType.TRAIN, MessageType.EVALUATE, records.JOIN
RULES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {  # terms of the site, what is asked, and with what changes
    "POLICY-TASK": ({"tasks": "segmentation"}, JOIN, {}),
    "POLICY-MODALITY": ({"modalities": "MR,CT"}, JOIN, {}),
    "POLICY-ROUNDS": ({"max_rounds": 4}, JOIN, {"rounds": 5}),
    "POLICY-EPOCHS": ({"max_local_epochs": 2}, TRAIN, {"training.local-epochs": 3}),
    "POLICY-STEPS": ({"max_local_steps": 10}, TRAIN, {"training.local-steps": 11}),
    "POLICY-QUORUM": ({"min_sites": 3}, JOIN, {"strategy.quorum": 2}),
    "POLICY-PROTECTION": ({"require": "differential-privacy"}, TRAIN, {}),
    "POLICY-PATIENTS": ({"min_patients": 1000}, JOIN, {}),
    "POLICY-BYTES": ({"max_megabytes": 0.001}, TRAIN, {}),
    "POLICY-METRICS": ({"metrics": "eval.*"}, TRAIN, {}),
}


@pytest.mark.parametrize("code", RULES)
def test_a_server_that_asks_for_too_much_gets_a_code_and_nothing_else(code: str, hospital: Callable[..., Hospital]) -> None:
    terms, kind, changes = RULES[code]
    reply = hospital(**terms).ask(kind, **changes)
    assert reply.has_error()
    assert reply.error.reason == safe_sentence(code)
    assert not any(word in reply.error.reason for word in SECRET_WORDS)
    assert safe_sentence(code) != f"[{code}] The details are in the log of the site."


@pytest.mark.parametrize("code", sorted(set(RULES) - {"POLICY-PROTECTION", "POLICY-PATIENTS", "POLICY-BYTES"}))
def test_a_message_within_the_rules_is_answered(code: str, hospital: Callable[..., Hospital]) -> None:
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "POLICY-TASK": ({"tasks": "classification"}, {}),
        "POLICY-MODALITY": ({"modalities": "XR,MR"}, {}),
        "POLICY-ROUNDS": ({"max_rounds": 5}, {"rounds": 5}),
        "POLICY-EPOCHS": ({"max_local_epochs": 3}, {"training.local-epochs": 3}),
        "POLICY-STEPS": ({"max_local_steps": 2}, {"training.local-steps": 2}),
        "POLICY-QUORUM": ({"min_sites": 2}, {"strategy.quorum": 2}),
        "POLICY-METRICS": ({"metrics": "train.patients,eval.*"}, {}),
    }
    terms, changes = cases[code]
    assert not hospital(**terms).ask(TRAIN, **changes).has_error()


def test_the_sites_that_the_server_says_are_enrolled_make_no_quorum(hospital: Callable[..., Hospital]) -> None:
    site = hospital(min_sites=3)
    assert site.ask(JOIN, **{"server.enrolled": "a,b,c,d"}).error.reason == safe_sentence("POLICY-QUORUM")
    assert not site.ask(JOIN, **{"strategy.sites": 3}).has_error()


def test_a_round_that_neither_study_nor_limit_has_is_the_servers_doing(hospital: Callable[..., Hospital]) -> None:
    site = hospital(max_rounds=2)
    assert not site.ask(TRAIN, server_round=2).has_error()
    assert site.ask(TRAIN, server_round=3).error.reason == safe_sentence("QUESTION-UNKNOWN")  # not "plan fewer rounds"
    assert not site.ask(EVALUATE, server_round=2).has_error()  # the closing scores of the last round


def test_a_round_that_the_study_does_not_have_is_refused_whatever_the_policy(hospital: Callable[..., Hospital]) -> None:
    for beyond in (0, -1, 3, 5000):
        assert hospital().ask(TRAIN, server_round=beyond, rounds=2).error.reason == safe_sentence("QUESTION-UNKNOWN")
    assert not hospital().ask(EVALUATE, server_round=2, rounds=2).has_error()
    assert hospital().ask(EVALUATE, server_round=3, rounds=2).error.reason == safe_sentence("QUESTION-UNKNOWN")


@pytest.mark.parametrize("changes", [{"strategy.name": "fedper"}, {"strategy.name": "fedbn"}, {"personal.layers": "head"}])
def test_local_layers_cannot_be_had_by_asking_for_another_arm(
    changes: dict[str, Any], hospital: Callable[..., Hospital]
) -> None:
    site = hospital()
    assert site.ask(TRAIN, arm="local", **changes).error.reason == safe_sentence("ARM-FOREIGN")
    assert site.ask(EVALUATE, arm="local", **changes).error.reason == safe_sentence("ARM-FOREIGN")
    assert not site.ask(TRAIN, arm="local", arms="federated,local").has_error()


@pytest.mark.parametrize(
    ("terms", "changes", "code"),
    [
        ({"max_local_steps": 10}, {"training.local-epochs": 100}, "POLICY-EPOCHS"),
        ({"max_local_epochs": 5}, {"training.local-steps": 100}, "POLICY-STEPS"),
        ({"max_local_steps": 10}, {"training.local-steps": 5, "personal.fine-tune-steps": 11}, "POLICY-STEPS"),
        ({"max_local_epochs": 5}, {"training.local-epochs": 1, "personal.fine-tune-steps": 11}, "POLICY-STEPS"),
        ({"max_local_steps": 10}, {"training.local-steps": 6, "strategy.name": "ditto"}, "POLICY-STEPS"),
        ({"max_local_epochs": 3}, {"training.local-epochs": 2, "strategy.name": "apfl"}, "POLICY-EPOCHS"),
    ],
)
def test_no_way_to_count_work_gets_around_a_limit(
    terms: dict[str, int], changes: dict[str, Any], code: str, nodule_study: Path
) -> None:
    config = read_run_config(nodule_study) | {"training.local-steps": 0, "training.local-epochs": 1} | changes
    assert [found for found, _ in policy_checks.find_violations(study_from_run_config(config), Policy(**terms))] == [code]


@pytest.mark.parametrize("kind", [JOIN, TRAIN, EVALUATE])
@pytest.mark.parametrize(("term", "value"), [("min_patients", 1000), ("max_minutes", 1e-9)])
def test_every_exchange_is_checked_against_the_policy(
    kind: str, term: str, value: float, hospital: Callable[..., Hospital]
) -> None:
    code = "POLICY-PATIENTS" if (kind, term) == (JOIN, "min_patients") else "NOT-ANSWERED"  # both depend on its data
    assert hospital(**{term: value}).ask(kind).error.reason == safe_sentence(code)


def test_counts_on_joining_may_be_withheld_too(hospital: Callable[..., Hospital]) -> None:
    numbers = hospital(metrics="train.*,join.train-patients").ask(JOIN).content.metric_records[records.METRICS]
    assert numbers["join.train-patients"] > 0
    assert numbers["join.test-patients"] == 0


def test_a_removed_patient_is_no_longer_trained_on(hospital: Callable[..., Hospital]) -> None:
    site = hospital()
    before = site.ask(TRAIN).content.metric_records[records.METRICS]["train.samples"]
    index = site.site.parent / "data" / "index.csv"
    lines = index.read_text().splitlines()
    index.write_text("\n".join(lines[: 1 + (len(lines) - 1) * 2 // 3]) + "\n")
    assert site.ask(TRAIN, server_round=2).content.metric_records[records.METRICS]["train.samples"] < before


def test_outside_of_its_hours_a_site_does_not_answer(hospital: Callable[..., Hospital]) -> None:
    now = datetime.now()
    before, after = (now.hour - 2) % 24, (now.hour - 1) % 24
    site = hospital(hours=f"{before:02d}:00-{after:02d}:00")
    for kind in (JOIN, TRAIN, EVALUATE):
        assert site.ask(kind).error.reason == safe_sentence("POLICY-HOURS")


@pytest.mark.parametrize(
    ("hours", "clock", "inside"),
    [
        ("19:00-06:30", "18:59", False),
        ("19:00-06:30", "19:00", True),
        ("19:00-06:30", "00:00", True),
        ("19:00-06:30", "06:30", False),
        ("08:00-17:00", "07:59", False),
        ("08:00-17:00", "16:59", True),
        ("08:00-17:00", "17:00", False),
        ("", "03:00", True),
    ],
)
def test_hours_include_the_first_and_exclude_the_second_also_over_midnight(hours: str, clock: str, inside: bool) -> None:
    now = datetime.fromisoformat(f"2026-03-01T{clock}")
    if inside:
        policy_checks.check_hours(Policy(hours=hours), now)
    else:
        with pytest.raises(PolicyError, match="POLICY-HOURS"):
            policy_checks.check_hours(Policy(hours=hours), now)


def test_scores_leave_together_or_not_at_all(hospital: Callable[..., Hospital]) -> None:
    site = hospital(metrics="train.patients,train.samples,eval.patients")
    open_reply = Hospital(site.site.parent, site.study).ask(EVALUATE).content.metric_records[records.METRICS]
    numbers = site.ask(EVALUATE).content.metric_records[records.METRICS]
    assert numbers.keys() == open_reply.keys()
    assert numbers["eval.hidden"] == 1
    assert numbers["eval.patients"] == 0
    assert not any(any(v) if isinstance(v, list) else v for key, v in numbers.items() if key != "eval.hidden")


def test_a_training_number_that_may_not_leave_is_nan_and_not_a_false_one(hospital: Callable[..., Hospital]) -> None:
    numbers = hospital(metrics="train.patients,train.steps").ask(TRAIN).content.metric_records[records.METRICS]
    assert numbers["train.patients"] > 0
    assert isinstance(numbers["train.loss"], float)
    assert math.isnan(numbers["train.loss"])


def test_work_is_broken_off_at_the_next_batch(hospital: Callable[..., Hospital]) -> None:
    calls = []

    def reason() -> str | None:
        calls.append(1)
        return "RUN-STOPPED" if len(calls) == 3 else None

    with stop_when(reason):
        reply = hospital().ask(TRAIN, **{"training.local-steps": 1000})
    assert reply.error.reason == safe_sentence("RUN-STOPPED")
    assert len(calls) == 3


def test_a_reply_repeats_what_it_answers(hospital: Callable[..., Hospital]) -> None:
    info = hospital().ask(TRAIN, server_round=2).content.config_records[records.SITE]
    assert (info[records.RUN], info[records.ROUND], info[records.EXCHANGE]) == ("run", 2, "x1")
