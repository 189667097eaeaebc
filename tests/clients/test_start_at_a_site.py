"""The first model of a study with start weights, at a hospital without their file, and in a simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, MessageType, RecordDict

from medfl.api.start_weights import describe_start, fit_start, write_start
from medfl.clients import model_watch
from medfl.clients.initial_model import build_initial_model, build_initial_models
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.layers import local_names
from medfl.clients.networks.network_builders import build_network
from medfl.clients.received_model import check_received
from medfl.clients.simulated_cases import simulated_cases
from medfl.clients.start.start_model import map_start
from medfl.data.cases import Case, Split
from medfl.data.store.cache_key import site_root
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.errors import ExchangeError, PolicyError, RunError
from medfl.messages import records
from medfl.privacy.outbox import list_outgoing
from medfl.privacy.questions import Item, Kind
from medfl.runs.model_file import model_file_bytes
from medfl.runs.model_library import find_weights
from medfl.site import Site
from medfl.study import read_study
from medfl.testing.sites import make_site, make_study
from tests.clients.real_node import PLAIN, Node

TRAIN = MessageType.TRAIN


@pytest.fixture
def started(nodule_study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of a study that begins with weights beside it."""
    monkeypatch.setenv("MEDFL_MODELS", str(tmp_path / "library"))
    state = {name: tensor + 0.01 for name, tensor in build_network(read_study(nodule_study)).state_dict().items()}
    torch.save(state, nodule_study / "w.pt")
    write_start(nodule_study, fit_start(nodule_study, "w.pt", {}))
    return nodule_study


@pytest.fixture
def node(started: Path, nodule_hospitals: Path) -> Node:
    from medfl.study import read_run_config

    model = build_initial_model(read_study(started), str(started / "w.pt"))
    return Node(nodule_hospitals / "hospital-1" / "site.toml", read_run_config(started), model)


def moved(model: ArrayRecord, by: float) -> ArrayRecord:
    arrays = records.from_array_record(model)
    return records.to_array_record({n: (a + by).astype(a.dtype) for n, a in arrays.items()})


def test_a_hospital_without_the_file_takes_the_first_model_and_no_other(node: Node, started: Path) -> None:
    (started / "w.pt").unlink()
    node.ask(records.JOIN)
    seeded = build_initial_model(read_study(started).model_copy(update={"start": make_study().start}))
    for other in (seeded, moved(node.model, 1e-6)):
        assert "START-OTHER" in node.reason(TRAIN, model=other)
    reply = node.ask(TRAIN)
    assert reply.has_content()
    later = moved(reply.content.array_records[records.ARRAYS], 0.0)
    assert node.ask(TRAIN, model=later, server_round=2, exchange="x2").has_content()


def test_the_watch_compares_with_the_first_model_that_came(node: Node) -> None:
    node.ask(records.JOIN)
    node.ask(TRAIN)
    budget = node.site_file.parent / "budget"
    assert not [entry for entry in list_outgoing(budget, "run-1") if entry.state == "alarm"]
    node.ask(TRAIN, model=moved(node.model, 50.0), server_round=2, exchange="x2")
    assert [entry for entry in list_outgoing(budget, "run-1") if entry.state == "alarm"]


@pytest.mark.parametrize("kind", ["test", "validation"])
def test_a_model_that_came_before_the_first_is_not_taken_for_it(kind: Kind, tmp_path: Path) -> None:
    study = make_study(start={"file": "m.pt", "sha256": "1" * 64, "arrays": "2" * 64})
    site = make_site().model_copy(update={"folder": tmp_path})
    first = get_arrays(build_network(study))
    planted = {name: (array + 5).astype(array.dtype) for name, array in first.items()}
    model_watch.watch(study, site, "run-1", Item("federated", kind), {records.ARRAYS: planted})
    model_watch.watch(study, site, "run-2", Item("federated", "train", 1), {records.ARRAYS: first})
    assert not model_watch.watch(study, site, "run-3", Item("federated", "train", 1), {records.ARRAYS: first})
    assert model_watch.watch(study, site, "run-4", Item("federated", "train", 1), {records.ARRAYS: planted})


def test_layers_that_stay_here_come_from_the_seed_in_the_first_whole_model(tmp_path: Path) -> None:
    tables: dict[str, Any] = {"personal": {"layers": "head"}, "arms": "federated,local"}
    start = {"file": "w.pt", "sha256": "1" * 64, "arrays": "2" * 64, "head": "new"}
    torch.save(build_network(make_study()).state_dict(), tmp_path / "w.pt")
    _, told = map_start(make_study(**tables, start=start), tmp_path / "w.pt")
    study = make_study(**tables, start=start | told)
    model = records.from_array_record(build_initial_models(study, str(tmp_path / "w.pt"))[records.INITIAL_FULL])
    (name, *_) = local_names(study, build_network(study))

    config: dict[str, Any] = {**PLAIN}

    def check() -> None:
        content = RecordDict({records.ARRAYS: records.to_array_record(model), records.CONFIG: ConfigRecord(config)})
        check_received(content, Item("local", "train", 1), study, make_site())

    check()
    model[name] = np.nextafter(model[name], np.float32(9))
    with pytest.raises(ExchangeError, match="START-OTHER"):
        check()


def test_a_server_without_the_file_says_so(started: Path) -> None:
    with pytest.raises(RunError, match="START-FILE"):
        build_initial_model(read_study(started), str(started / "gone.pt"))


def prepared(*splits: Split) -> PreparedData:
    cases = [Case.without_files(f"case-{k}", f"pat-{k}", split) for k, split in enumerate(splits)]
    image = np.zeros((1, 2, 2), np.float32)
    made = tuple(PreparedCase(case, image, 0, (1.0, 1.0), annotated=(1,), content=(case.name,)) for case in cases)
    return PreparedData("north", made, (), patient_ids=True)


def test_a_simulated_hospital_remembers_whom_a_study_trained_on() -> None:
    site, first = Site(name="north"), make_study()
    start = {"file": "m.pt", "sha256": "1" * 64, "arrays": "2" * 64, "studies": first.approved_hash()}
    refusing, moving = make_study(start=start), make_study(start={**start, "patients": "move"})
    assert simulated_cases(first, site, (before := prepared("train", "test", "test"))) is before
    now = prepared("test", "test", "train")
    with pytest.raises(PolicyError, match="START-PATIENTS"):
        simulated_cases(refusing, site, now)
    assert [case.split for case in simulated_cases(moving, site, now).cases] == ["train", "test", "train"]
    assert simulated_cases(refusing, Site(name="south"), now) is now


def test_a_simulated_hospital_without_a_record_warns_and_a_damaged_record_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    site, first = Site(name="north"), make_study()
    begun = make_study(start={"file": "m.pt", "sha256": "1" * 64, "arrays": "2" * 64, "studies": first.approved_hash()})
    now = prepared("train", "test")
    assert all(simulated_cases(begun, site, now) is now for _ in range(3))
    assert caplog.text.count("no record of whom the start was trained on") == 1  # and not at each visit
    simulated_cases(first, site, now)
    (record,) = (site_root(site) / "trained").glob(f"{first.approved_hash()[:16]}.json")
    record.write_bytes(record.read_bytes()[:-5])
    with pytest.raises(PolicyError, match=r"START-PATIENTS.*damaged"):
        simulated_cases(begun, site, now)


def test_another_file_at_the_same_path_loses_name_source_and_licence(started: Path) -> None:
    words = {"name": "chest", "source": "there", "licence": "CC0-1.0"}
    write_start(started, fit_start(started, "w.pt", words))
    assert "it is not known who trained this: nobody is kept apart" in describe_start(read_study(started), started)
    assert fit_start(started, "w.pt", {}).keys.items() >= words.items()
    torch.save({name: tensor + 1 for name, tensor in torch.load(started / "w.pt").items()}, started / "w.pt")
    assert not fit_start(started, "w.pt", {}).keys.keys() & words.keys()
    assert fit_start(started, "w.pt", {"licence": "MIT"}).keys["licence"] == "MIT"


def test_an_export_is_taken_by_the_file_that_says_who_trained_it(tmp_path: Path) -> None:
    study = make_study()
    net = build_network(study)
    about = {"arm": "federated", "site": "", "round": 1}
    torch.save(net.state_dict(), tmp_path / "model.pt")
    assert find_weights(tmp_path / "model.pt") == tmp_path / "model.pt"
    (tmp_path / "model.safetensors").write_bytes(model_file_bytes(study, get_arrays(net), about))
    with pytest.raises(RunError, match=r"Take model\.safetensors, so that nobody is tested"):
        find_weights(tmp_path / "model.pt")
