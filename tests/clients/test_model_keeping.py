"""A hospital keeps the model that its study chose, with its own result; nothing of the answer depends on it."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MessageType

from medfl import client_app, metrics
from medfl.clients import model_keeping, session
from medfl.clients.networks import layers
from medfl.clients.networks.network_builders import build_network
from medfl.messages import records
from medfl.models.trained_model import open_model
from medfl.privacy.ledger import Ledger
from medfl.runs import kept_models
from medfl.runs.kept_models import KeptModel, list_kept
from medfl.runs.model_file import read_model_file
from medfl.study import study_from_run_config
from tests.clients.real_node import Node

TRAIN, EVALUATE = MessageType.TRAIN, MessageType.EVALUATE
TEST: dict[str, Any] = {"split": "test", "server_round": 3, "arm": "federated", "model_round": 2}


@pytest.fixture
def hospital(nodule_study: Path, nodule_hospitals: Path) -> Node:
    return Node.of_study(nodule_hospitals / "hospital-1" / "site.toml", nodule_study)


def kept(node: Node) -> tuple[KeptModel, ...]:
    return list_kept(node.site_file.parent / "models")


def values(reply: Message) -> dict[str, Any]:
    timeless = {key: value for key, value in reply.content.metric_records["metrics"].items() if "seconds" not in key}
    return timeless | {"error": reply.has_error()}


def test_the_chosen_model_stays_with_the_exact_own_result_and_can_be_used(
    hospital: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.edit_site('scores = "exact"', 'scores = "headline"')
    exact: list[Any] = []
    evaluate = session.evaluate
    monkeypatch.setattr(session, "evaluate", lambda *values: exact.append(evaluate(*values)) or exact[-1])
    assert not hospital.ask(EVALUATE, **TEST).has_error()
    (model,) = kept(hospital)
    assert (model.study, model.run, model.which, model.round) == ("nodule", "run-1", "shared", 2)
    opened = open_model(model.path)
    assert (opened.study.name, opened.origin.version) == ("nodule", "round 2")
    sent = records.from_array_record(hospital.model)
    assert list(opened.arrays) == list(sent)
    assert all(np.array_equal(opened.arrays[name], array) for name, array in sent.items())
    score = metrics.headline(opened.study, exact[0])
    assert model.test["score"] == pytest.approx(score)  # and not in the steps in which it left
    assert model.test["patients"] == exact[0]["eval.patients"] > 0
    for path in (hospital.site_file.parent / "models").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    about = read_model_file(model.path).about  # who gets the file does not get the hospital's result
    assert about == {"arm": "federated", "site": "", "round": 2}


def test_without_the_policy_nothing_is_kept_and_the_answer_is_the_same(hospital: Node, nodule_hospitals: Path) -> None:
    hospital.edit_site("[policy]", "[policy]\nkeep-models = false")
    off = values(hospital.ask(EVALUATE, **TEST))
    assert kept(hospital) == ()
    hospital.edit_site("keep-models = false", "keep-models = true")
    assert values(hospital.ask(EVALUATE, run="run-2", **TEST)) == off
    assert [model.run for model in kept(hospital)] == ["run-2"]


@pytest.mark.parametrize("config", [TEST | {"arm": "local"}, {"split": "validation", "server_round": 2, "arm": "federated"}])
def test_what_is_only_scored_here_is_not_kept(hospital: Node, config: dict[str, Any]) -> None:
    """In the arm "local", the models of other hospitals come to be tested."""
    hospital.run_config["arms"] = "federated,local"
    assert not hospital.ask(EVALUATE, **config).has_error()
    assert kept(hospital) == ()


def test_a_simulated_hospital_keeps_nothing_beside_the_run_folder(hospital: Node, nodule_hospitals: Path) -> None:
    hospital.ask(EVALUATE, **TEST)
    (model,) = kept(hospital)
    kept_models.remove_kept(model)
    config = dict(hospital.run_config) | {"simulation.data": str(nodule_hospitals)}
    assert hospital.asked is not None
    context = Context(7, 5, {"partition-id": 0, "num-partitions": 3}, hospital.asked.content, config)
    assert not client_app.app(hospital.asked, context).has_error()
    assert not list(nodule_hospitals.rglob("shared.safetensors"))


@pytest.mark.parametrize("told", [{}, {"model_round": 0}, {"model_round": 1000}, {"model_round": "2"}])
def test_a_round_that_cannot_be_is_not_written_down(hospital: Node, told: dict[str, Any]) -> None:
    without = {key: value for key, value in TEST.items() if key != "model_round"}
    assert not hospital.ask(EVALUATE, **without | told).has_error()
    (model,) = kept(hospital)
    assert model.round is None
    assert open_model(model.path).origin.version == ""


@pytest.mark.parametrize(("strategy", "which"), [("fedbn", ["personal"]), ("ditto", ["personal", "shared"])])
def test_a_model_of_the_hospitals_own_is_kept_whole(hospital: Node, strategy: str, which: list[str]) -> None:
    """Without the layers that stay at the hospital, the shared model is not whole, and not kept."""
    hospital.run_config["strategy.name"] = strategy
    study = study_from_run_config(hospital.run_config)
    whole = build_network(study)
    hospital.model = records.to_array_record(layers.shared_arrays(study, whole))
    reply = hospital.ask(TRAIN, server_round=1, arm="federated")
    trained = reply.content.array_records[records.ARRAYS]
    assert not hospital.ask(EVALUATE, model=trained, **TEST).has_error()
    found = {model.which: model for model in kept(hospital)}
    assert sorted(found) == which
    assert found["personal"].round is None
    for model in found.values():
        open_model(model.path).build()  # refuses a model that is not whole
        assert model.test["patients"]


class Failing:
    """The writer of files, which fails at one of its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
        self.write, self.at, self.error, self.calls = kept_models.write_file, at, error, 0
        monkeypatch.setattr(kept_models, "write_file", self)

    def __call__(self, *values: Any, **how: Any) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        self.write(*values, **how)


@pytest.mark.parametrize("at", [1, 2])
def test_a_full_disk_does_not_fail_the_test_and_is_told(
    hospital: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at: int
) -> None:
    expected = values(hospital.ask(EVALUATE, run="run-0", **TEST))
    Failing(monkeypatch, at, OSError(errno.ENOSPC, "No space left on device", str(hospital.site_file)))
    assert values(hospital.ask(EVALUATE, **TEST)) == expected
    (line,) = [record.getMessage() for record in caplog.records if "MODEL-NOT-KEPT" in record.getMessage()]
    assert line.startswith("[MODEL-NOT-KEPT] the disk is full")
    assert str(hospital.site_file.parent) not in line
    assert [model.run for model in kept(hospital) if not model.is_there] == (["run-1"] if at == 2 else [])


class Killed(BaseException):
    """A signal that ends the process."""


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_site_that_is_killed_has_the_model_after_the_question_came_again(
    hospital: Node, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Before the receipt, before the model, and before the answer is settled."""
    with monkeypatch.context() as patches:
        if step == 3:
            patches.setattr(Ledger, "settle", lambda *_, **__: (_ for _ in ()).throw(Killed))
        else:
            Failing(patches, step, Killed())
        with pytest.raises(Killed):
            hospital.ask(EVALUATE, **TEST)
    assert not hospital.ask(EVALUATE, exchange="x2", **TEST).has_error()
    (model,) = kept(hospital)
    assert model.is_there
    open_model(model.path).build()
    assert json.loads(model.path.with_suffix(".json").read_bytes())["sha256"] == model.sha256


def test_without_test_patients_a_model_is_kept_without_a_result(hospital: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    describe = model_keeping.ModelKeeper._describe
    monkeypatch.setattr(
        model_keeping.ModelKeeper,
        "_describe",
        lambda keeper, which, _: describe(keeper, which, metrics.empty_metrics(keeper.study)),
    )
    assert not hospital.ask(EVALUATE, **TEST).has_error()
    (model,) = kept(hospital)
    assert (model.is_there, dict(model.test)) == (True, {})
