"""The node: what it answers to each message, what it refuses, and what it keeps open between messages."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from medfl import client_app, metrics
from medfl.clients import answering, node_cache, session
from medfl.errors import safe_sentence
from medfl.flower import compat
from medfl.messages import records
from medfl.study import Study, read_run_config, study_from_run_config
from tests.clients.real_node import Node

JOIN, FINGERPRINT, TRAIN, EVALUATE = records.JOIN, records.FINGERPRINT, MessageType.TRAIN, MessageType.EVALUATE
KINDS = [JOIN, FINGERPRINT, TRAIN, EVALUATE]


@pytest.fixture
def node(nodule_study: Path, nodule_hospitals: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """Return a node that computes each answer anew: what of it leaves a hospital, and how often, is tested with `answering`."""
    monkeypatch.setattr(answering, "answer", lambda handle, message, context: handle(message, context, None))
    return Node.of_study(nodule_hospitals / "hospital-1" / "site.toml", nodule_study)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often studies and TOML files are read, and cases prepared."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counted[label] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    count(Study, "model_validate", "study")
    count(tomllib, "loads", "toml")
    count(node_cache, "prepare", "prepare")
    count(session, "train", "train")
    return counted


# What a reply contains


@pytest.mark.parametrize("kind", [JOIN, TRAIN, EVALUATE])
def test_a_reply_names_the_site_and_repeats_what_it_answers(node: Node, kind: str) -> None:
    info = node.info(kind)
    assert info["name"] == "hospital-1"
    assert (info[records.RUN], info[records.ROUND], info[records.EXCHANGE]) == ("run-1", 1, "x1")


def test_joining_counts_patients_by_split_and_names_the_layout_of_the_model(node: Node) -> None:
    numbers, info = node.numbers(JOIN), node.info(JOIN)
    assert set(numbers) == {
        f"join.{split}-{what}" for split in ("train", "validation", "test") for what in ("patients", "cases")
    }
    assert sum(value for key, value in numbers.items() if key.endswith("-patients")) == 12
    assert info[records.MODEL_HASH] == records.layout_hash(records.from_array_record(node.model))
    assert info[records.EXCLUDED] == ""
    assert info["patient-ids"] == "yes"


def test_joining_tells_nothing_of_the_data_beyond_these_words_and_counts(node: Node) -> None:
    content = node.ask(JOIN).content
    assert set(content) == {records.METRICS, records.SITE}
    words = {"name", records.EXCLUDED, "warnings", "patient-ids", records.ANNOTATED, records.MODEL_HASH}
    assert set(node.info(JOIN)) == words | {records.RUN, records.ROUND, records.EXCHANGE}  # the last repeat the question


def test_a_training_reply_holds_the_trained_model_and_both_results(node: Node) -> None:
    content = node.ask(TRAIN).content
    assert set(content) == {records.ARRAYS, records.METRICS, records.SITE}
    trained, sent = (records.from_array_record(r) for r in (content.array_records[records.ARRAYS], node.model))
    assert records.layout_hash(trained) == records.layout_hash(sent)
    assert any(not np.array_equal(trained[name], sent[name]) for name in sent)
    numbers = dict(content.metric_records[records.METRICS])
    study = study_from_run_config(node.run_config)
    assert {key for key in numbers if key.startswith("eval.")} == set(metrics.empty_metrics(study))
    assert numbers["train.patients"] == node.numbers(JOIN)["join.train-patients"]


def test_the_received_model_is_scored_from_the_second_round_on(node: Node) -> None:
    first, second = (node.numbers(TRAIN, server_round=number) for number in (1, 2))
    assert first.keys() == second.keys()
    assert first["eval.patients"] == 0  # nobody has trained the first model
    assert second["eval.patients"] == node.numbers(JOIN)["join.validation-patients"]


@pytest.mark.parametrize(("split", "number"), [("validation", 2), ("test", 3)])
def test_an_evaluation_scores_the_split_that_was_asked_for(node: Node, split: str, number: int) -> None:
    content = node.ask(EVALUATE, split=split, server_round=number).content
    assert set(content) == {records.METRICS, records.SITE}
    assert content.metric_records[records.METRICS]["eval.patients"] == node.numbers(JOIN)[f"join.{split}-patients"]


def test_the_same_message_has_the_same_answer(node: Node) -> None:
    one, other = (node.ask(TRAIN).content.array_records[records.ARRAYS] for _ in range(2))
    assert all(np.array_equal(one[name].numpy(), other[name].numpy()) for name in one)


def test_a_real_site_takes_no_folder_from_the_server(node: Node, tmp_path: Path) -> None:
    assert not node.ask(EVALUATE, split="test", server_round=3, run_folder=str(tmp_path / "run")).has_error()
    assert not (tmp_path / "run").exists()


# What is refused


def test_a_fingerprint_of_classified_images_is_refused(node: Node) -> None:
    assert node.reason(FINGERPRINT) == safe_sentence("CONFIG")  # plans are made for segmentation


@pytest.mark.parametrize(
    ("kind", "config", "code"),
    [
        (EVALUATE, {"split": "train"}, "SPLIT-UNKNOWN"),
        (TRAIN, {"arm": "local"}, "ARM-FOREIGN"),
        (EVALUATE, {"arm": "../local"}, "ARM-FOREIGN"),
        (TRAIN, {"server_round": 3}, "QUESTION-UNKNOWN"),
        (TRAIN, {"server_round": 0}, "QUESTION-UNKNOWN"),
        (EVALUATE, {"server_round": 3}, "QUESTION-UNKNOWN"),
        (EVALUATE, {"split": "test", "server_round": 4}, "QUESTION-UNKNOWN"),
        (TRAIN, {"server_round": 1.0}, "CONFIG-TYPE"),
        (TRAIN, {"without": records.ROUND}, "CONFIG-TYPE"),
        (TRAIN, {"run": "../../run"}, "RUN-NAME"),
    ],
)
def test_a_message_beyond_the_study_is_refused_before_any_image_is_read(
    node: Node, calls: Counter[str], kind: str, config: dict[str, Any], code: str
) -> None:
    assert node.reason(kind, **config) == safe_sentence(code)
    assert not calls["prepare"]


@pytest.mark.parametrize("change", ["name", "shape", "dtype", "missing", "further", "not a number"])
@pytest.mark.parametrize("kind", [TRAIN, EVALUATE])
def test_a_model_of_another_layout_is_refused(node: Node, kind: str, change: str) -> None:
    arrays = records.from_array_record(node.model)
    name = next(iter(arrays))
    match change:
        case "name":
            arrays = {("other" if key == name else key): value for key, value in arrays.items()}
        case "shape":
            arrays[name] = arrays[name][None]
        case "dtype":
            arrays[name] = arrays[name].astype(np.float64)
        case "missing":
            del arrays[name]
        case "further":
            arrays["other"] = np.zeros(1, np.float32)
        case _:
            arrays[name] = np.full_like(arrays[name], np.nan)
    code = "MODEL-NONFINITE" if change == "not a number" else "MODEL-MISMATCH"
    assert node.reason(kind, model=records.to_array_record(arrays)) == safe_sentence(code)


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_that_is_wrong_or_against_the_policy_is_refused(node: Node, kind: str, calls: Counter[str]) -> None:
    node.run_config["rounds"] = 0
    assert node.reason(kind) == safe_sentence("CONFIG")
    node.run_config["rounds"] = 2
    deep = "server." + ".".join("a" * 5000)
    node.run_config[deep] = 1
    assert node.reason(kind) == safe_sentence("CONFIG")
    del node.run_config[deep]
    node.edit_site("[policy]", '[policy]\ntasks = "segmentation"')
    assert node.reason(kind) == safe_sentence("POLICY-TASK")
    assert not calls["prepare"]


def test_a_real_node_without_a_site_is_not_taken_for_a_simulated_one(
    nodule_study: Path, nodule_hospitals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compat.identify_process(1, compat.SERVER_NODE_ID)
    message = Message(RecordDict({records.CONFIG: ConfigRecord()}), dst_node_id=2, message_type=records.JOIN)
    run_config = read_run_config(nodule_study) | {"simulation.data": str(nodule_hospitals)}
    context = Context(1, 2, {"partition-id": 0, "num-partitions": 3}, RecordDict(), run_config)
    assert client_app.app(message, context).has_content()
    monkeypatch.delenv(compat.SIMULATION_VARIABLE)
    monkeypatch.delitem(__import__("sys").modules, "ray", raising=False)
    reply = client_app.app(message, context)
    assert reply.error.reason == "[CONFIG] The details are in the log of the site."


@pytest.mark.parametrize("kind", [JOIN, TRAIN, EVALUATE])
def test_work_beyond_the_time_limit_is_broken_off(node: Node, kind: str) -> None:
    node.edit_site("[policy]", "[policy]\nmax-minutes = 1e-9")
    assert node.reason(kind) == safe_sentence("POLICY-MINUTES")


def test_the_time_limit_counts_each_message_by_itself(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.edit_site("[policy]", "[policy]\nmax-minutes = 1")
    clock = [0.0]
    monkeypatch.setattr("medfl.clients.node.time.monotonic", lambda: clock[0])
    for _ in range(3):
        assert not node.ask(EVALUATE).has_error()
        clock[0] += 59.0


@pytest.mark.parametrize("error", [RuntimeError("patient ZQXCAN"), FileNotFoundError("/data/ZQXCAN/1.dcm")])
def test_an_unexpected_error_leaves_as_a_code_alone(node: Node, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(node_cache, "prepare", fail)
    for kind in (JOIN, TRAIN, EVALUATE):
        assert node.reason(kind) == "[SITE-ERROR] The details are in the log of the site."


# What is kept between messages


def test_further_messages_read_no_study_no_site_and_no_data_again(node: Node, calls: Counter[str]) -> None:
    for number in (1, 2):
        assert not node.ask(TRAIN, server_round=number).has_error()
    assert not node.ask(EVALUATE, split="test", server_round=3).has_error()
    assert calls["train"] == 2
    assert calls["prepare"] == 1
    assert calls["toml"] <= 1  # the site.toml
    assert calls["study"] == 0  # the fixture read the same study before in this process


def test_an_edited_site_file_counts_from_the_next_message_on(node: Node) -> None:
    assert not node.ask(TRAIN).has_error()
    node.edit_site("[policy]", "[policy]\nmax-rounds = 1")
    assert node.reason(TRAIN) == safe_sentence("POLICY-ROUNDS")


def test_cases_that_are_taken_away_are_missing_from_the_next_message_on(node: Node, calls: Counter[str]) -> None:
    before = node.numbers(TRAIN)["train.samples"]
    index = node.site_file.parent / "data" / "index.csv"
    rows = index.read_text().splitlines()
    index.write_text("\n".join(rows[: len(rows) * 2 // 3]) + "\n")
    assert node.numbers(TRAIN)["train.samples"] < before
    assert calls["prepare"] == 2


def test_studies_of_different_content_are_distinguished(node: Node) -> None:
    steps = []
    for value in (1, 2, 1):
        node.run_config["training.local-epochs"] = value
        steps.append(node.numbers(TRAIN)["train.steps"])
    assert steps == [steps[0], 2 * steps[0], steps[0]]
    node.run_config["training.local-epochs"] = True  # equal to 1 in Python, and no number in a study
    assert node.reason(TRAIN) == safe_sentence("CONFIG")


def test_what_an_algorithm_saves_is_found_in_the_next_round_of_the_same_run(node: Node) -> None:
    node.run_config["strategy.name"] = "moon"

    def second_round(run: str) -> Callable[[str], Any]:
        reply = node.ask(TRAIN, server_round=2, run=run).content.array_records[records.ARRAYS]
        return lambda name: reply[name].numpy()

    node.ask(TRAIN, run="one")
    known, unknown = second_round("one"), second_round("two")
    assert any(not np.array_equal(known(name), unknown(name)) for name in node.model)
    assert not list(node.site_file.parent.rglob("moon*"))  # it lies in the store, not among the images
