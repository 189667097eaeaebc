"""A study that begins with weights and trains a part of them: the first model comes whole once, and is kept at the site."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, MessageType

from medfl.api.start_weights import fit_start, write_start
from medfl.clients import model_watch
from medfl.clients.initial_model import build_initial_models
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.layers import local_names
from medfl.clients.networks.network_builders import build_network
from medfl.clients.networks.update_size import count_start_bytes
from medfl.clients.start import initial_layers, kept_start
from medfl.clients.start.initial_layers import frozen_arrays, initial_arrays, initial_shared
from medfl.clients.start.kept_start import KeptStart
from medfl.data.store.purge import find_purgeable
from medfl.messages import records
from medfl.messages.array_digest import digest_arrays
from medfl.privacy.outbox import list_outgoing
from medfl.server_app import _hash_model as hash_at_server
from medfl.server_app import _start_to_send
from medfl.site import read_site
from medfl.study import Study, read_run_config, read_study
from tests.clients.real_node import Node

TRAIN = MessageType.TRAIN
TUNE = 'tune = "lora,head"\nlora-rank = 2'
Begin = Callable[..., Path]


@pytest.fixture(autouse=True)
def new_process() -> Callable[[], None]:
    """Return a function that empties the caches, as a new process has them; they are empty at first."""

    def forget() -> None:
        for cache in (kept_start._load, initial_layers.initial_kept_layers, model_watch._find_first_model):
            cache.cache_clear()

    forget()
    return forget


@pytest.fixture
def begin(nodule_study: Path) -> Begin:
    """Return a function that makes a study begin with weights for three classes, and train a part with a new head."""

    def start(tune: str = TUNE, strategy: str = "fedavg") -> Path:
        study = read_study(nodule_study)
        task = study.task.model_copy(update={"classes": ("clear", "nodule", "other")})
        torch.save(build_network(study.model_copy(update={"task": task, "seed": 77})).state_dict(), nodule_study / "w.pt")
        text = (nodule_study / "pyproject.toml").read_text().replace("batch-size = 8", f"batch-size = 8\n{tune}")
        (nodule_study / "pyproject.toml").write_text(f'{text}\n[tool.flwr.app.config.strategy]\nname = "{strategy}"\n')
        write_start(nodule_study, fit_start(nodule_study, "w.pt", {"head": "new"}))
        return nodule_study

    return start


class Hospital(Node):
    """A hospital that is asked by a server with the first model of a study; it has no file of the weights."""

    def __init__(self, hospitals: Path, folder: Path) -> None:
        self.study: Study = read_study(folder)
        self.models = build_initial_models(self.study, str(folder / "w.pt"))
        super().__init__(hospitals / "hospital-1" / "site.toml", read_run_config(folder), self.models[records.INITIAL])
        self.start = _start_to_send(self.study, self.models)

    @property
    def kept(self) -> KeptStart:
        found = kept_start.kept_start(self.study, read_site(self.site_file))
        assert found is not None
        return found

    def alarms(self) -> list[Any]:
        return [entry for entry in list_outgoing(self.site_file.parent / "budget", "run-1") if entry.state == "alarm"]


@pytest.fixture
def hospital(begin: Begin, nodule_hospitals: Path) -> Hospital:
    return Hospital(nodule_hospitals, begin())


def moved(model: ArrayRecord | None, by: float) -> ArrayRecord:
    assert model is not None
    return records.to_array_record({n: (a + by).astype(a.dtype) for n, a in records.from_array_record(model).items()})


def test_a_hospital_keeps_the_first_model_and_trains_a_part_of_it_also_after_a_restart(
    hospital: Hospital, new_process: Callable[[], None]
) -> None:
    said = hospital.info(records.JOIN)
    assert said[records.MODEL_HASH] == hash_at_server(hospital.models)
    (file,) = hospital.kept.folder.iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.name) == (0o600, hospital.study.start.arrays)
    new_process()
    reply = hospital.ask(TRAIN)
    assert list(reply.content.array_records[records.ARRAYS]) == list(hospital.model)
    new_process()
    later = moved(reply.content.array_records[records.ARRAYS], 0.0)
    assert hospital.ask(TRAIN, model=later, server_round=2, exchange="x2").has_content()
    assert hospital.info(records.JOIN) == said
    assert not hospital.alarms()


def test_what_is_frozen_is_of_the_file_and_a_new_head_is_that_of_the_server(hospital: Hospital, nodule_study: Path) -> None:
    hospital.ask(records.JOIN)
    whole, base = initial_arrays(hospital.study, hospital.kept), records.array_views(hospital.models[records.BASE])
    assert list(whole) == list(base)
    assert all(whole[name].tobytes() == tensor.tobytes() for name, tensor in base.items())
    plain = {name: whole[name] for name in get_arrays(build_network(hospital.study))}
    assert digest_arrays(plain) == hospital.study.start.arrays
    weights = torch.load(nodule_study / "w.pt")
    of_file = {name for name, x in weights.items() if np.array_equal(x.numpy(), whole[name])}
    assert of_file == frozen_arrays(hospital.study, hospital.kept).keys() & weights.keys()


def test_another_a_missing_and_a_surplus_first_model_are_refused_before_anything_else(hospital: Hospital) -> None:
    right = hospital.start
    reasons = {"START-OTHER": moved(right, 1e-6), "START-MISSING": None, "MODEL-MISMATCH": hospital.model}
    for code, sent in reasons.items():
        hospital.start = sent
        assert code in hospital.reason(records.JOIN)
    assert not hospital.kept.folder.exists()
    hospital.start = right
    hospital.run_config["training.tune"] = "all"
    del hospital.run_config["training.lora-rank"]
    assert "RECORD-UNKNOWN" in hospital.reason(records.JOIN)


def test_a_part_that_is_not_of_the_first_model_is_refused_and_a_jump_is_watched(hospital: Hospital) -> None:
    hospital.ask(records.JOIN)
    assert "START-OTHER" in hospital.reason(TRAIN, model=moved(hospital.model, 1e-6))
    assert hospital.ask(TRAIN).has_content()
    hospital.ask(TRAIN, model=moved(hospital.model, 50.0), server_round=2, exchange="x2")
    assert hospital.alarms()


@pytest.mark.parametrize("fault", ["lost", "changed"])
def test_a_first_model_that_is_lost_or_changed_here_comes_again_with_the_question_to_join(
    hospital: Hospital, new_process: Callable[[], None], fault: str
) -> None:
    said = hospital.info(records.JOIN)
    (file,) = hospital.kept.folder.iterdir()
    if fault == "lost":
        shutil.rmtree(hospital.kept.folder)
    else:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    new_process()
    assert "START-MISSING" in hospital.reason(TRAIN)
    assert hospital.info(records.JOIN) == said
    assert hospital.ask(TRAIN).has_content()


@pytest.mark.parametrize(("kind", "server_round"), [(TRAIN, 2), (MessageType.EVALUATE, 1)])
def test_that_a_first_model_is_lost_is_told_in_any_round_before_the_question_counts(
    hospital: Hospital, new_process: Callable[[], None], kind: str, server_round: int
) -> None:
    hospital.ask(records.JOIN)
    shutil.rmtree(hospital.kept.folder)
    new_process()
    counted = len(list_outgoing(hospital.site_file.parent / "budget"))
    assert "START-MISSING" in hospital.reason(kind, server_round=server_round, exchange="x2")
    assert len(list_outgoing(hospital.site_file.parent / "budget")) == counted


@pytest.mark.parametrize(("tune", "strategy"), [("head", "fedavg"), ("lora,head", "fedper")])
def test_server_and_site_begin_with_the_same_bits(begin: Begin, nodule_hospitals: Path, tune: str, strategy: str) -> None:
    hospital = Hospital(nodule_hospitals, begin(f'tune = "{tune}"', strategy))
    study, kept = hospital.study, hospital.kept
    assert hospital.start is not None
    assert not local_names(study, build_network(study)) & set(hospital.start)
    kept.save(records.array_views(hospital.start))
    first = initial_shared(study, start=kept)
    assert {n: x.tobytes() for n, x in first.items()} == {n: x.numpy().tobytes() for n, x in hospital.model.items()}
    assert records.model_hash(first, frozen_arrays(study, kept)) == hash_at_server(hospital.models)
    assert count_start_bytes(study) == sum(x.nbytes for x in records.array_views(hospital.start).values())
    assert count_start_bytes(read_study(nodule_hospitals.parent / "nodule", {"training.tune": "all"})) == 0


def test_a_kept_first_model_is_purged_with_what_runs_left_unless_its_study_is_wanted(hospital: Hospital) -> None:
    assert hospital.start is not None
    site = read_site(hospital.site_file)
    hospital.kept.save(records.array_views(hospital.start))
    assert not find_purgeable(site)
    assert not find_purgeable(site, [hospital.study], runs=True)
    (found,) = find_purgeable(site, runs=True)
    assert found.folders == (hospital.kept.folder,)
