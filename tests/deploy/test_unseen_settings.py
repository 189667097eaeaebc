"""Hospitals do not see how a study is simulated and served: no key of it changes what they get, approve or answer."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict

from medfl import client_app
from medfl.clients.initial_model import build_initial_model
from medfl.deploy.approvals import approve
from medfl.deploy.authorization import authorize, without_server_keys
from medfl.deploy.bundle import write_app
from medfl.deploy.untrusted_bundle import read_bundle
from medfl.errors import PolicyError
from medfl.flower import compat
from medfl.messages import records
from medfl.site import Site, init_site, read_site
from medfl.study import Server, Simulation, read_app, read_run_config, read_study, study_from_run_config

SIMULATION: dict[str, Any] = {
    "simulation.data": "/secret/images",
    "simulation.store": "/secret/store",
    "simulation.previews": 7,
    "simulation.partition": "none",
    "simulation.column": "ward",
    "simulation.sites": 5,
    "simulation.alpha": 0.5,
    "simulation.shares": "0.75,0.25",
    "simulation.positives": "0.25,0.5",
    "simulation.scanner-sites": "hospital-1",
    "simulation.scanner-gain": 0.1,
    "simulation.scanner-contrast": 0.1,
    "simulation.scanner-bias": 0.1,
    "simulation.scanner-noise": 0.1,
    "simulation.scanner-resolution": 0.1,
    "simulation.where": "ward=a",
    "simulation.image": "picture",
    "simulation.label": "finding",
    "simulation.patient": "",
    "simulation.subgroups": "sex",
    "simulation.attack": "scale",
    "simulation.attackers": "hospital-1",
    "simulation.attack-strength": 3.0,
    "simulation.max-excluded": 0.5,
}
NEEDS: dict[str, dict[str, Any]] = {  # what a key says nothing without
    "simulation.column": {"simulation.partition": "column"},
    "simulation.sites": {"simulation.partition": "random"},
    "simulation.alpha": {"simulation.partition": "label-skew", "simulation.sites": 2},
    "simulation.shares": {"simulation.partition": "quantity-skew"},
    "simulation.positives": {"simulation.partition": "positives"},
    "simulation.scanner-sites": {"simulation.scanner-gain": 0.1},
}
SERVER: dict[str, Any] = {
    "server.out": "/secret/runs",
    "server.run": "secret-run",
    "server.resume": True,
    "server.enrolled": "hospital-1,secret-clinic",
    "server.start": "secret-start.pt",
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return read_site(init_site(tmp_path / "site", "hospital-a", "."))


@pytest.fixture
def bundle(nodule_study: Path, tmp_path: Path) -> bytes:
    write_app(nodule_study, {}, tmp_path / "app")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(tmp_path / "app" / "pyproject.toml", "pyproject.toml")
    return packed.getvalue()


def changed(*keys: str) -> list[Any]:
    values = SIMULATION | SERVER
    return [pytest.param(NEEDS.get(key, {}) | {key: values[key]}, id=key) for key in keys]


def test_every_key_of_both_tables_is_tried_here(nodule_study: Path) -> None:
    before = read_app(nodule_study)
    for kind, name, values in ((Simulation, "simulation", SIMULATION), (Server, "server", SERVER)):
        assert {f"{name}.{field.replace('_', '-')}" for field in kind.model_fields} == values.keys()
        for key, value in values.items():
            after, field = read_app(nodule_study, NEEDS.get(key, {}) | {key: value}), key.partition(".")[2].replace("-", "_")
            assert getattr(getattr(after, name), field) != getattr(getattr(before, name), field), key


@pytest.mark.parametrize("change", changed(*SIMULATION, *SERVER))
def test_no_key_changes_the_study_its_hash_its_bundle_or_its_approval(
    change: dict[str, Any], nodule_study: Path, site: Site, tmp_path: Path
) -> None:
    studies, texts, approvals = [], [], []
    for name, changes in (("plain", {}), ("changed", change)):
        studies.append(read_study(nodule_study, changes))
        write_app(nodule_study, changes, tmp_path / name)
        texts.append((tmp_path / name / "pyproject.toml").read_text())
        path = approve(site, studies[-1])
        approvals.append((path.name, {key: v for key, v in json.loads(path.read_text()).items() if key != "approved"}))
    for pair in (studies, texts, approvals, [study.approved_hash() for study in studies]):
        assert pair[0] == pair[1]
    assert "[tool.flwr.app.config.simulation]" not in texts[0]


def test_a_site_passes_on_a_study_without_what_the_server_reads(bundle: bytes, nodule_study: Path, site: Site) -> None:
    plain = read_bundle(bundle).config
    approve(site, study_from_run_config(plain))
    study = authorize(bundle, plain | SERVER, site)
    assert study == read_study(nodule_study)
    assert without_server_keys(plain | SERVER).keys() == plain.keys() - SERVER.keys()
    assert study_from_run_config(without_server_keys(plain | SERVER)) == study


@pytest.mark.parametrize("change", changed(*SIMULATION))
def test_a_site_refuses_to_be_told_how_it_is_simulated(change: dict[str, Any], bundle: bytes, site: Site) -> None:
    plain = read_bundle(bundle).config
    approve(site, study_from_run_config(plain))
    with pytest.raises(PolicyError, match="OVERRIDE-REFUSED"):
        authorize(bundle, plain | change, site)


@pytest.fixture
def answers(nodule_study: Path, nodule_hospitals: Path) -> Any:
    """Return a function that trains at a hospital, and gives what it sends but for the seconds it took."""
    site_file = nodule_hospitals / "hospital-1" / "site.toml"
    model = build_initial_model(read_study(nodule_study))

    def ask(changes: dict[str, Any], run: Path) -> Any:
        config = {records.ROUND: 2, records.RUN: "run-1", records.RUN_FOLDER: str(run), records.SPLIT: "test"}
        sent = []
        shutil.rmtree(site_file.parent / "budget", ignore_errors=True)  # or it would give the answers that it has
        for kind in (records.JOIN, MessageType.TRAIN, MessageType.EVALUATE):
            compat.identify_process(7, compat.SERVER_NODE_ID)
            asked = {} if kind == records.JOIN else {records.ARRAYS: model}
            content = RecordDict({**asked, records.CONFIG: ConfigRecord(config)})
            message = Message(content, dst_node_id=5, message_type=kind)
            compat.assign_message_id(message)
            compat.identify_process(7, 5)
            run_config = read_run_config(nodule_study) | changes
            context = Context(7, 5, {"site": str(site_file)}, RecordDict(), run_config)
            reply = client_app.app(message, context).content
            for record in reply.metric_records.values():
                record.pop(records.TRAIN_SECONDS, None)
            sent.append({name: str(dict(record)) for name, record in reply.items()})
        return sent

    return ask


@pytest.mark.slow
def test_no_key_changes_what_a_hospital_answers(answers: Any, tmp_path: Path) -> None:
    plain = answers({}, tmp_path / "run")
    for key, value in (SIMULATION | SERVER).items():
        assert answers(NEEDS.get(key, {}) | {key: value}, tmp_path / "run") == plain, key
    assert not (tmp_path / "run").exists()
