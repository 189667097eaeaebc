"""The personal model of a site: the best by its own validation patients, fine-tuned if asked for, and tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from medfl import metrics
from medfl.clients import node, personal_model, session
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.initial_model import build_initial_model
from medfl.clients.networks import layers
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.data.store.prepared_data import PreparedData
from medfl.flower import compat
from medfl.messages import records
from medfl.runs import checkpoint_files
from medfl.runs.run_folder import Run
from medfl.simulation.simulated_run import plan_simulation
from medfl.study import read_run_config, study_from_run_config

DITTO = {"name": "ditto"}
TUNED = {"fine-tune-steps": 12}


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes `session.evaluate` return scripted Dice scores; it returns the list of splits scored."""
    splits: list[str] = []

    def script(*dice):
        left = list(dice)

        def evaluate(study, site, prepared, net, arrays, split, folder=None):
            splits.append(split)
            return scored(study, left.pop(0))

        monkeypatch.setattr(personal_model.session, "evaluate", evaluate)
        return splits

    return script


def scored(study, dice):
    found = metrics.empty_metrics(study)
    if not np.isnan(dice):
        found |= {"eval.patients": 1, "eval.patients.organ": 1, "eval.dice.organ": dice}
    return found


class Numbered(ClientAlgorithm):
    """An algorithm whose personal model holds the number of the round."""

    def personal_model(self, task):
        return {"round": np.array(float(task.server_round))}


def test_the_best_so_far_by_the_sites_patients_is_kept(make_study, organs, make_task, scores) -> None:
    study = make_study(strategy=DITTO)
    scores(0.2, np.nan, 0.5, 0.4, 0.5)
    saved = []
    for number in range(2, 7):
        personal_model.save_if_best(make_task(study, organs(), number), Numbered(), {})
        saved.append(float(personal_model.final_model(make_task(study, organs(), 90), Numbered())["round"]))
    assert saved == [2, 2, 4, 4, 4]


def test_a_repeated_round_chooses_as_the_first_time(make_study, organs, make_task, scores) -> None:
    study = make_study(strategy=DITTO)
    scores(0.2, 0.5, 0.3)
    for number in (2, 3, 3):  # the second time, the score is another: that of the first time is forgotten
        personal_model.save_if_best(make_task(study, organs(), number), Numbered(), {})
    state = make_task(study, organs(), 4).state
    assert (state.load("personal"), state.load("personal-score")) == ({"round": 3.0}, {"score": 0.3})


def test_the_score_of_the_whole_received_model_is_not_measured_twice(make_study, organs, make_task, scores) -> None:
    study = make_study(personal={"layers": "norm"})
    count = scores()
    task = make_task(study, organs(), 2)
    personal_model.save_if_best(task, ClientAlgorithm(), scored(study, 0.7))
    assert not count
    best = personal_model.final_model(make_task(study, organs(), 3), ClientAlgorithm())
    assert best.keys() == task.received.keys()


@pytest.mark.parametrize(
    ("tables", "arm"), [({"strategy": DITTO}, "local"), ({"personal": TUNED}, "federated"), ({}, "federated")]
)
def test_without_a_personal_model_nothing_is_kept(make_study, organs, make_task, tables, arm) -> None:
    study = make_study(**tables)
    task = make_task(study, organs(), 2, arm=arm)
    personal_model.save_if_best(task, ClientAlgorithm(), scored(study, 0.7))
    assert not task.state.folder.exists()


def test_without_validation_patients_the_model_as_it_stands_is_tested(make_study, organs, make_task, scores) -> None:
    study = make_study(strategy=DITTO)
    scores(np.nan)
    personal_model.save_if_best(make_task(study, organs(), 2), Numbered(), {})
    assert float(personal_model.final_model(make_task(study, organs(), 5), Numbered())["round"]) == 5


def test_tuning_improves_the_score_or_is_not_used(make_study, organs, make_task, scores) -> None:
    study = make_study(personal=TUNED, optimizer={"learning-rate": 0.02})
    task = make_task(study, organs(), 5)
    before, tuned = task.received, personal_model.final_model(task, ClientAlgorithm())
    assert any(not np.array_equal(tuned[n], x) for n, x in before.items())
    first, second = (session.evaluate(study, task.site, organs(), task.net, m, "validation") for m in (before, tuned))
    assert metrics.headline(study, second) > metrics.headline(study, first)
    # the same once more
    assert personal_model.final_model(make_task(study, organs(), 5), ClientAlgorithm()).keys() == before.keys()
    scores(0.5, 0.6)  # tuned, untouched
    untouched = personal_model.final_model(make_task(study, organs(), 5), ClientAlgorithm())
    assert all(np.array_equal(untouched[n], x) for n, x in before.items())


def test_tuning_takes_the_steps_asked_for_at_the_full_rate(make_study, organs, make_task, monkeypatch) -> None:
    schedule = {"name": "polynomial", "power": 1, "warmup-rounds": 2}
    study = make_study(personal={"fine-tune-steps": 4}, schedule=schedule)
    task, rates = make_task(study, organs(), 4), []
    monkeypatch.setattr("medfl.clients.training.loop.set_factor", lambda optimizer, settings, factor: rates.append(factor))
    personal_model.fine_tune_if_better(task, task.received)
    assert rates == pytest.approx([7 / 8, 5 / 8, 3 / 8, 1 / 8])


@pytest.mark.parametrize("steps", [1, 5])  # the weights are no numbers any more, and then the loss is none
def test_tuning_that_fails_leaves_the_model_as_it_was(make_study, organs, make_task, steps) -> None:
    study = make_study(
        personal={"fine-tune-steps": steps}, optimizer={"name": "sgd", "learning-rate": 1e38, "weight-decay": 1e5}
    )
    task = make_task(study, organs(), 5)
    own = task.received
    assert personal_model.fine_tune_if_better(task, own) is own
    nobody = make_task(make_study(personal=TUNED), PreparedData("hospital-a", (), (), True), 5)
    assert personal_model.fine_tune_if_better(nobody, own) is own


@pytest.fixture
def reply_of(nodule_study: Path, nodule_hospitals: Path):
    """Return a function that sends a message to a hospital: a simulated one, or a real one that suppresses small counts."""
    strict = min(nodule_hospitals.glob("*/site.toml"))
    strict.with_name("strict.toml").write_text(strict.read_text().replace("min-count = 0", "min-count = 10"))
    compat.identify_process(1, compat.SERVER_NODE_ID)

    def ask(do, number, changes, *, real=False, **config):
        run_config = read_run_config(nodule_study) | {
            "simulation.data": str(nodule_hospitals),
            "arms": "federated,local",
        }
        run_config |= changes
        values = ConfigRecord({records.ROUND: number, records.RUN: "run-1", **config})
        content = RecordDict({records.ARRAYS: build_initial_model(study_from_run_config(run_config)), records.CONFIG: values})
        where = {"site": str(strict.with_name("strict.toml"))} if real else {"partition-id": 0, "num-partitions": 3}
        return do(Message(content, 2, message_type=MessageType.TRAIN), Context(1, 2, where, RecordDict(), run_config)).content

    return ask


PERSONAL = [
    {"strategy.name": "fedbn"},
    {"strategy.name": "fedper"},
    {"strategy.name": "ditto"},
    {"strategy.name": "apfl"},
    {"personal.fine-tune-steps": 3},
    {"strategy.name": "fedprox", "personal.layers": "head", "personal.fine-tune-steps": 3},
]


@pytest.mark.parametrize("changes", PERSONAL, ids=lambda c: ",".join(map(str, c.values())))
def test_a_test_reports_the_same_keys_for_both_models(reply_of, changes) -> None:
    keys = {"before": set(reply_of(node.evaluate, 3, changes, split="test")[records.METRICS])}
    for number in (1, 2):
        trained = reply_of(node.train, number, changes)
        assert not any(key.startswith("personal.") for key in trained[records.METRICS])
        assert not any(name.startswith("::") for record in trained.array_records.values() for name in record)
    keys["validation"] = set(reply_of(node.evaluate, 2, changes, split="validation")[records.METRICS])
    assert not any(key.startswith("personal.") for key in keys["validation"])
    assert reply_of(node.evaluate, 2, changes, split="validation", trial=True)[records.METRICS].keys() == keys["validation"]
    after = reply_of(node.evaluate, 3, changes, split="test")[records.METRICS]
    own = metrics.personal_part(dict(after))
    assert own.keys() == {key for key in after if key.startswith("eval.")}
    assert keys["before"] == set(after)
    assert own[records.EVAL_PATIENTS] == after[records.EVAL_PATIENTS] > 0
    assert own[records.EVAL_LOSS] != after[records.EVAL_LOSS] or "strategy.name" not in changes  # tuning may not have helped
    assert dict(reply_of(node.evaluate, 3, changes, split="test")[records.METRICS]) == dict(after)  # the same when asked again
    alone = reply_of(node.evaluate, 3, {"strategy.name": "ditto"}, split="test", arm="local")
    assert not any(key.startswith("personal.") for key in alone[records.METRICS])


def test_the_policy_holds_for_the_personal_model_too(reply_of) -> None:
    numbers = reply_of(node.evaluate, 3, {"strategy.name": "ditto"}, real=True, split="test")[records.METRICS]
    assert numbers["eval.hidden"] == numbers["personal.hidden"] == 1
    assert not any(np.any(value) for key, value in numbers.items() if key.startswith("personal.") and key != "personal.hidden")


def test_a_run_tests_both_models_and_shares_no_local_layer(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    changes = {
        "strategy.name": "fedbn",
        "network.norm": "batch",
        "rounds": 1,
        "arms": "federated,local",
        "simulation.store": str(tmp_path / "store"),
    }
    simulation = plan_simulation(nodule_study, [nodule_hospitals], tmp_path / "runs", changes)
    simulation.start(workers=1)
    events = Run.open(simulation.run).history.read()
    together, *alone = (event for event in events if event["event"] == "test")
    assert not [event for event in events if event["event"] == "failed"]
    assert len(together["sites"]) == len(alone) == 3
    for answer in together["sites"].values():
        assert answer["metrics"]["personal.patients"] == answer["metrics"]["eval.patients"] > 0
        assert 0 <= answer["personal-derived"]["auroc"] <= 1
    patients = sum(answer["metrics"]["eval.patients"] for answer in together["sites"].values())
    assert together["personal"]["personal.patients"] == together["eval"]["eval.patients"] == patients
    assert not any("personal" in event for event in alone)
    net = build_network(simulation.study)
    local_names = layers.local_names(simulation.study, net)
    assert checkpoint_files.load(simulation.run, "best").arrays.keys() == get_arrays(net).keys() - local_names
    files = [name for name in checkpoint_files.list_names(simulation.run / "checkpoints") if name.startswith("local-")]
    assert len(files) >= 3
    assert all(
        checkpoint_files.load(simulation.run / "checkpoints", name).arrays.keys() == get_arrays(net).keys() for name in files
    )


def test_nothing_is_kept_of_trial_models(reply_of, tmp_path: Path) -> None:
    def saved() -> list[str]:
        return [path.name for path in (tmp_path / "store").glob("*/state/*/*/personal*.safetensors")]

    changes = {"strategy.name": "ditto"}
    reply_of(node.train, 1, changes)
    reply_of(node.evaluate, 1, changes, split="validation", trial=True)
    assert saved() == []
    reply_of(node.evaluate, 1, changes, split="validation")
    assert len(saved()) == 2  # the model and its score
