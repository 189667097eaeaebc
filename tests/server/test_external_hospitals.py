"""External hospitals in a whole run: every model is tested on them, and nothing else of the run depends on them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict

from medfl import server_app
from medfl.errors import ConfigError, DataError
from medfl.evaluation.patient_results import read_external_results, read_patient_results
from medfl.models.run_models import find_arrays
from medfl.runs.history import Event, read_history
from medfl.runs.run_folder import Run
from medfl.server.joining import with_simulated_sites
from medfl.study import read_app, read_app_and_run_config, read_study_file
from tests.server.direct_grid import DirectGrid

EXTERNAL = "hospital-2"
ARMS = ("federated", "local", "pooled", "ensemble", "fine-tuned")


@pytest.fixture
def changes(nodule_hospitals: Path, tmp_path: Path) -> dict[str, Any]:
    places = {"simulation.data": str(nodule_hospitals), "simulation.store": str(tmp_path / "store")}
    return places | {"arms": ",".join(ARMS), "rounds": 1, "server.out": str(tmp_path / "runs"), "server.run": "one"}


class Recorder(DirectGrid):
    """Hospitals of which is recorded what each is asked."""

    def push_messages(self, messages: Any) -> Any:
        self.asked = getattr(self, "asked", [])
        for message in (sent := list(messages)):
            config = message.content.config_records["config"]
            split = config.get("split", "")
            self.asked.append((message.metadata.dst_node_id, f"{message.metadata.message_type} {split}".strip()))
        return super().push_messages(sent)


def conduct(study: Path, changes: dict[str, Any], nodes: int = 3) -> tuple[Path, Recorder]:
    _, config = read_app_and_run_config(read_study_file(study), changes)
    grid = Recorder(config, nodes)
    server_app.main(grid, Context(1, 1, {}, RecordDict(), config))
    return Path(changes["server.out"]) / "nodule" / str(changes["server.run"]), grid


def results_of(events: list[Event], arm: str) -> list[Event]:
    return [event for event in events if event["event"] == "test" and event["arm"] == arm]


def test_an_external_hospital_is_tested_by_every_model_and_asked_nothing_else(
    nodule_study: Path, changes: dict[str, Any]
) -> None:
    run, grid = conduct(nodule_study, changes | {"evaluation.external": EXTERNAL})
    assert {asked for node, asked in grid.asked if node == 3} == {"query.join", "evaluate test"}
    events = read_history(run)
    assert set(read_patient_results(run, arm="fine-tuned")) == set(read_patient_results(run, external=[EXTERNAL]))
    models = {arm: set(read_external_results(run, arm, [EXTERNAL])) for arm in ARMS}
    each = {"hospital-1", "hospital-3"}
    assert models == {"federated": {""}, "local": each, "pooled": {""}, "ensemble": {""}, "fine-tuned": each}
    (joined,) = (event for event in events if event["event"] == "joined" and event.get("external"))
    assert (joined["site"], joined["train"], joined["validation"], joined["test"]) == (EXTERNAL, 0, 0, 12)
    assert [len(results_of(events, arm)) for arm in ARMS] == [1, 2, 1, 1, 2]
    for event in (event for arm in ARMS for event in results_of(events, arm)):
        inside = {event["model"]["site"]} if event["arm"] == "fine-tuned" else {"hospital-1", "hospital-3"}
        assert set(event["sites"]) == inside
        assert event["eval"]["eval.patients"] == sum(s["metrics"]["eval.patients"] for s in event["sites"].values())
        assert list(event["external"]["sites"]) == [EXTERNAL]
        assert event["external"]["eval"]["eval.patients"] == 12
    assert not any(EXTERNAL in event["sites"] for event in events if event["event"] in ("round", "scored"))


def test_the_models_are_those_of_a_federation_without_the_external_hospital(
    nodule_study: Path, nodule_hospitals: Path, changes: dict[str, Any], tmp_path: Path
) -> None:
    changes = changes | {"arms": "federated,local,pooled"}
    here, _ = conduct(nodule_study, changes | {"evaluation.external": EXTERNAL})
    elsewhere = shutil.copytree(nodule_hospitals, tmp_path / "elsewhere")
    shutil.rmtree(elsewhere / EXTERNAL)
    there, _ = conduct(nodule_study, changes | {"simulation.data": str(elsewhere), "server.run": "two"}, nodes=2)
    for arm, site in (("federated", None), ("local", "hospital-3"), ("pooled", None)):
        one, other = (find_arrays(Run.open(run), arm, site, "best") for run in (here, there))
        assert all((one[name] == other[name]).all() for name in one)


def test_personal_models_are_those_of_hospitals_that_train(nodule_study: Path, changes: dict[str, Any]) -> None:
    personal = {"arms": "federated", "personal.layers": "head", "personal.fine-tune-steps": 1}
    run, _ = conduct(nodule_study, changes | personal | {"evaluation.external": EXTERNAL})
    (event,) = results_of(read_history(run), "federated")
    assert event["external"]["eval"]["eval.patients"] == 12
    assert "personal-derived" in event["sites"]["hospital-1"]
    assert "personal-derived" not in event["external"]["sites"][EXTERNAL]


def test_an_image_that_is_at_a_hospital_that_trains_is_nothing_new(
    nodule_study: Path, nodule_hospitals: Path, changes: dict[str, Any]
) -> None:
    known, own = (sorted((nodule_hospitals / site).rglob("*.png"))[0] for site in ("hospital-1", EXTERNAL))
    shutil.copyfile(known, own)
    with pytest.raises(DataError, match=r"EXTERNAL-COPIES.*1 image of hospital-2 is also at a hospital that trains"):
        conduct(nodule_study, changes | {"evaluation.external": EXTERNAL})


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"evaluation.external": "hospital-9"}, "no hospital 'hospital-9' in the data.*hospital-1, hospital-2 and hospital-3"),
        ({"evaluation.external": "hospital-1,hospital-2,hospital-3"}, "none is left to train"),
        ({"evaluation.external": EXTERNAL, "strategy.quorum": 3}, "2 hospitals are left to train, and the study asks for 3"),
        ({"evaluation.external": EXTERNAL, "server.enrolled": "a,b", "arms": "local"}, "external.*for a simulation"),
    ],
)
def test_what_cannot_be_is_refused(more: dict[str, Any], reason: str, nodule_study: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=reason):
        with_simulated_sites(read_app(nodule_study, changes | more))
