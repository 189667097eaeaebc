"""The watch of a hospital over a model's path: what is trained passes, what is crafted does not."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, MessageType

from medfl.clients import model_watch
from medfl.clients.initial_model import build_initial_model, build_initial_models
from medfl.clients.networks.arrays import Arrays
from medfl.errors import PolicyError, safe_sentence
from medfl.messages import records
from medfl.privacy import alarms
from medfl.privacy.outbox import OutboxEntry, list_outgoing
from medfl.privacy.questions import Item
from medfl.site import Policy, Site
from medfl.study import Study
from medfl.testing.sites import make_site, make_study
from tests.clients.real_node import Node

RUN = "run-1"
STEPS = {"training": {"local-steps": 20}}
TRAIN, VALIDATION, TEST = Item("federated", "train", 2), Item("federated", "validation", 4), Item("federated", "test")


def first_model(study: Study) -> Arrays:
    return {name: tensor.copy() for name, tensor in records.from_array_record(build_initial_model(study)).items()}


def moved(model: Arrays, size: float, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        k: (t + size * rng.standard_normal(t.shape)).astype(t.dtype) if t.dtype.kind == "f" else t for k, t in model.items()
    }


class Hospital:
    """A hospital that has trained one round."""

    def __init__(self, folder: Path, study: Study, **policy: Any) -> None:
        self.study, self.first = study, first_model(study)
        self.site: Site = make_site().model_copy(update={"folder": folder, "policy": Policy(**policy)})

    def ask(self, item: Item, model: Arrays, **further: Arrays) -> set[str]:
        alarms = model_watch.check_model(self.study, self.site, RUN, item, {records.ARRAYS: model, **further})
        return {alarm.what for alarm in alarms}

    def train(self) -> Arrays:
        item = Item("federated", "train", 1)
        assert not self.ask(item, self.first)
        trained = moved(self.first, 0.02)
        model_watch.note_update(self.study, self.site, RUN, item, self.first, trained, 20)
        return moved(self.first, 0.02, seed=1)  # what the others made of it


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path, make_study("classification", network={"name": "cnn", "channels": "8,16"}, **STEPS))


def filters_of(model: Arrays) -> str:
    return next(name for name, tensor in model.items() if tensor.ndim == 4)


def read_one_pixel(model: Arrays) -> None:
    """Pass the centre of each patch on in one channel, and nothing in the others."""
    tensor = model[filters_of(model)]
    tensor[:] = 0
    tensor[0, 0, 1, 1] = 1


def shift_in_every_channel(model: Arrays) -> None:
    """Read another pixel in every channel, with a little noise on top."""
    tensor = model[filters_of(model)]
    rng = np.random.default_rng(0)
    for k, row in enumerate(tensor.reshape(len(tensor), -1)):
        row[:] = 0.01 * rng.standard_normal(row.size)
        row[k % row.size] = 1


def repeat_one_filter(model: Arrays) -> None:
    tensor = model[filters_of(model)]
    tensor[1:] = tensor[:1] * np.linspace(0.5, 2.0, len(tensor) - 1).reshape(-1, 1, 1, 1).astype(np.float32)


def switch_units_off(model: Arrays) -> None:
    """Leave one unit of each normalisation that sees anything."""
    for name, tensor in model.items():
        if tensor.ndim == 1 and name.endswith("bias"):
            tensor[1:] = -3.0
            weight = model[name.removesuffix("bias") + "weight"]
            if weight.ndim == 1:
                weight[1:] = 0.01


def multiply_all(model: Arrays) -> None:
    for tensor in model.values():
        tensor *= 1000


def add_a_huge_bias(model: Arrays) -> None:
    list(model.values())[-1][0] = 1e4


def forget_a_number(model: Arrays) -> None:
    next(iter(model.values())).flat[0] = np.nan


CRAFTED = [
    (read_one_pixel, "constant filters"),
    (shift_in_every_channel, "one-hot filters"),
    (repeat_one_filter, "repeated filters"),
    (switch_units_off, "saturated units"),
    (multiply_all, "range"),
    (add_a_huge_bias, "range"),
    (forget_a_number, "range"),
]
crafted = pytest.mark.parametrize(("craft", "what"), CRAFTED, ids=lambda value: getattr(value, "__name__", ""))


@crafted
@pytest.mark.parametrize("item", [TRAIN, VALIDATION, TEST], ids=lambda item: item.kind)
def test_a_crafted_model_trips_whatever_it_is_sent_for(
    craft: Callable[[Arrays], None], what: str, item: Item, hospital: Hospital
) -> None:
    model = hospital.train()
    assert not hospital.ask(TRAIN, model)
    craft(model)
    assert what in hospital.ask(item, model)


@crafted
def test_a_hospital_that_joins_late_sees_it_in_the_first_model_that_it_gets(
    craft: Callable[[Arrays], None], what: str, hospital: Hospital
) -> None:
    model = moved(hospital.first, 0.02)
    assert not hospital.ask(Item("federated", "train", 3), model)
    craft(model)
    assert what in hospital.ask(Item("federated", "train", 4), model)


def test_a_first_model_that_is_not_the_studys_trips(hospital: Hospital) -> None:
    other = first_model(hospital.study.model_copy(update={"seed": 5}))
    assert hospital.ask(Item("federated", "train", 1), other) == {"first model"}
    nearly = {name: tensor * np.float32(1 + 1e-5) for name, tensor in hospital.first.items()}
    assert not hospital.ask(Item("federated", "train", 1), nearly)


@pytest.mark.parametrize(("share", "found"), [(1e-2, {"first model"}), (1e-5, set())])
def test_a_first_model_may_differ_by_rounding_and_not_by_one_percent(share: float, found: set[str], hospital: Hospital) -> None:
    name = filters_of(hospital.first)
    model = hospital.first | {name: hospital.first[name] * np.float32(1 + share)}
    assert hospital.ask(Item("federated", "train", 1), model) == found


def test_a_jump_trips_and_the_next_honest_model_does_not(hospital: Hospital) -> None:
    model = hospital.train()
    assert not hospital.ask(TRAIN, model)
    assert hospital.ask(Item("federated", "train", 3), moved(model, 2.0)) >= {"step"}
    assert not hospital.ask(Item("federated", "train", 4), moved(model, 0.03))


def test_one_weight_that_jumps_is_seen_in_a_large_tensor(hospital: Hospital) -> None:
    model = hospital.train()
    largest = max(model.values(), key=lambda tensor: tensor.size)
    largest.flat[7] += 5.0
    assert hospital.ask(TRAIN, model) == {"largest step"}


def test_more_rounds_may_move_the_model_further(hospital: Hospital) -> None:
    model = hospital.train()
    far = moved(model, 0.3)
    assert hospital.ask(TRAIN, far) >= {"step"}
    assert not hospital.ask(Item("federated", "train", 4), far)


def test_a_hospital_that_joins_at_the_end_of_a_schedule_expects_a_test_of_an_early_model(tmp_path: Path) -> None:
    """Its own steps are small by then, and the best model may be of a round in which they were large."""
    late = make_study(rounds=40, schedule={"name": "cosine"}, **STEPS)
    hospital, item, model = Hospital(tmp_path, late), Item("federated", "train", 39), moved(first_model(late), 0.2)
    assert not hospital.ask(item, model)
    model_watch.note_update(late, hospital.site, RUN, item, model, moved(model, 2e-4), 20)
    assert hospital.ask(Item("federated", "train", 40), moved(model, 0.2, seed=1)) >= {"step"}
    assert not hospital.ask(TEST, moved(model, 0.2, seed=1))


def test_training_a_crafted_model_widens_no_limit(hospital: Hospital) -> None:
    model, item = hospital.train(), Item("federated", "train", 3)
    wild = moved(model, 5.0)
    assert hospital.ask(item, wild)
    model_watch.note_update(hospital.study, hospital.site, RUN, item, wild, moved(wild, 5.0), 20)
    assert hospital.ask(Item("federated", "train", 4), wild)


def test_batch_normalisation_may_drift_but_has_no_negative_variance(tmp_path: Path) -> None:
    network = {"name": "unet", "channels": "4,8", "norm": "batch"}
    study = make_study(network=network, personal={"layers": "norm"}, arms="federated,local", **STEPS)
    hospital, item = Hospital(tmp_path, study), Item("local", "train", 2)
    model = moved(records.from_array_record(build_initial_models(study)[records.INITIAL_FULL]), 0.01)
    assert not hospital.ask(Item("federated", "train", 1), hospital.first)  # without the layers that stay there
    for name, tensor in model.items():
        if "running_" in name:
            tensor[:] = 40.0
    assert not hospital.ask(item, model)
    next(tensor for name, tensor in model.items() if name.endswith("running_var"))[0] = -1.0
    assert hospital.ask(item, model) == {"variance"}


def test_a_control_variate_that_would_craft_the_model_in_one_step_trips(tmp_path: Path) -> None:
    scaffold = {"strategy": {"name": "scaffold"}, "optimizer": {"name": "sgd", "learning-rate": 0.01}}
    hospital = Hospital(tmp_path, make_study(**scaffold, **STEPS))
    model = hospital.train()
    usual = {name: np.full_like(tensor, 0.02) for name, tensor in model.items()}
    assert not hospital.ask(TRAIN, model, control=usual)
    assert hospital.ask(TRAIN, model, control={k: t * 1e4 for k, t in usual.items()}) == {"control variate"}


def test_it_is_told_in_the_log_and_to_the_command_of_the_hospital(
    hospital: Hospital, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = tmp_path / "told"
    script = f"import sys, pathlib; pathlib.Path({str(told)!r}).write_text(' '.join(sys.argv[1:]))"
    hospital.site = hospital.site.model_copy(
        update={"policy": Policy(on_alarm=f'{sys.executable} -c "{script}"', on_alarm_refuse=True)}
    )
    model = hospital.train()
    add_a_huge_bias(model)
    with caplog.at_level(logging.WARNING), pytest.raises(PolicyError, match="MODEL-PATH"):
        hospital.ask(TRAIN, model)
    await_commands()
    assert told.read_text() == f"MODEL-PATH tiny {RUN}"
    assert f"[MODEL-PATH] study tiny, run {RUN}, train of the arm federated, round 2: range of tensor" in caplog.text


@pytest.mark.parametrize("command", ["/there/is/no-such-command", "false", "/opt/alarm.sh 'our hospital", " "])
def test_a_command_that_fails_is_logged_and_changes_nothing(
    command: str, hospital: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    hospital.site = hospital.site.model_copy(update={"policy": Policy(on_alarm=command)})
    model = hospital.train()
    forget_a_number(model)
    assert hospital.ask(TRAIN, model)
    await_commands()
    assert "'policy.on-alarm'" in caplog.text


def test_no_answer_waits_for_a_command_which_is_ended_when_it_takes_too_long(
    hospital: Hospital, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medfl.privacy.alarms._TIMEOUT_SECONDS", 2.0)
    command = f"sh -c 'echo $$ > {tmp_path}/process; exec sleep 600'"
    hospital.site = hospital.site.model_copy(update={"policy": Policy(on_alarm=command)})
    model = hospital.train()
    forget_a_number(model)
    assert hospital.ask(TRAIN, model)
    assert any(thread.name == alarms.THREAD for thread in threading.enumerate())
    assert "was ended" not in caplog.text
    await_commands()
    assert "'policy.on-alarm' was ended: it needed more than 2 seconds." in caplog.text
    with pytest.raises(ProcessLookupError):  # nor is it left as a zombie
        os.kill(int((tmp_path / "process").read_text()), 0)


def await_commands() -> None:
    """Wait until every command of an alarm has ended."""
    for thread in threading.enumerate():
        if thread.name == alarms.THREAD:
            thread.join(60)


def test_what_is_kept_is_the_hospitals_alone_and_goes_when_the_arm_is_over(hospital: Hospital, tmp_path: Path) -> None:
    model = hospital.train()
    hospital.ask(TRAIN, model)
    kept = [path for path in (tmp_path / "budget" / "path").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    hospital.ask(TEST, model)
    assert not list((tmp_path / "budget" / "path").rglob("federated.safetensors"))


def test_a_damaged_model_on_disk_is_replaced_by_the_first_one(hospital: Hospital, tmp_path: Path) -> None:
    model = hospital.train()
    hospital.ask(TRAIN, model)
    for path in (tmp_path / "budget" / "path").rglob("federated.*"):
        path.write_bytes(path.read_bytes()[:50])
    assert not hospital.ask(Item("federated", "train", 3), moved(model, 0.02))


@pytest.fixture
def node(nodule_study: Path, nodule_hospitals: Path) -> Node:
    return Node.of_study(nodule_hospitals / "hospital-1" / "site.toml", nodule_study)


def ask_for_a_crafted_test(node: Node) -> tuple[Message, list[OutboxEntry]]:
    """Ask for a test of a crafted model, and return the answer, and what the outbox says of it."""
    crafted = {name: tensor.copy() for name, tensor in records.from_array_record(node.model).items()}
    read_one_pixel(crafted)
    reply = node.ask(MessageType.EVALUATE, split="test", server_round=3, model=records.to_array_record(crafted))
    return reply, [entry for entry in list_outgoing(node.site_file.parent / "budget") if entry.state != "left"]


def test_an_alarm_goes_to_the_outbox_and_changes_no_answer(node: Node) -> None:
    assert not node.ask(MessageType.TRAIN).has_error()
    assert not list((node.site_file.parent / "budget" / "outbox").rglob("*alarm*"))
    reply, (alarm,) = ask_for_a_crafted_test(node)
    assert not reply.has_error()
    assert (alarm.state, alarm.code, alarm.kind) == ("alarm", "MODEL-PATH", "test")
    assert "constant filters of tensor 0.conv.weight" in alarm.reason


def test_a_hospital_that_refuses_such_models_says_only_that_it_does_not_answer(node: Node) -> None:
    node.edit_site("[policy]", "[policy]\non-alarm-refuse = true")
    reply, entries = ask_for_a_crafted_test(node)
    assert reply.error.reason == safe_sentence("NOT-ANSWERED")
    assert [entry.state for entry in entries] == ["alarm", "refused"]


def test_what_the_hospitals_own_training_moved_is_known_after_it(node: Node) -> None:
    node.ask(MessageType.TRAIN)
    (kept,) = (node.site_file.parent / "budget" / "path").rglob("federated.json")
    own = json.loads(kept.read_text())["own"]
    assert own.keys() == records.from_array_record(node.model).keys()
    assert all(rms > 0 for rms, _ in own.values())
