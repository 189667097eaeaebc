"""Hostile server: it gets nothing but a code from a hospital, and none of its code runs there."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from medfl.deploy.federation_folder import open_federation
from medfl.deploy.superlink import run_flwr
from medfl.errors import safe_sentence
from tests.deploy.local_server import needs_nginx, wait_for
from tests.deploy.loopback import Loopback, loopback
from tests.deploy.test_federation import hospital_folders

pytestmark = [pytest.mark.slow, needs_nginx]

SERVER = """
import json, time
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()
@app.main()
def main(grid, context):
    while len(list(grid.get_node_ids())) < 3:
        time.sleep(0.5)
    replies = {}
    for kind in ("train", "evaluate", "query.join"):
        content = RecordDict({"arrays": ArrayRecord([np.zeros(3)]), "config": ConfigRecord({"server-round": 1})})
        messages = [Message(content, dst_node_id=node, message_type=kind) for node in grid.get_node_ids()]
        answers = list(grid.send_and_receive(messages, timeout=60))
        replies[kind] = [reply.error.reason if reply.has_error() else "answered" for reply in answers]
    json.dump(replies, open(OUT, "w"))
"""
CANARY = "open({path!r}, 'a').write(__name__)\n"


def submit(federation: Loopback, app: Path, override: str = "") -> str:
    """Submit an app with Flower's own command, past everything that medfl's commands check."""
    changes = ["-c", override] if override else []
    return str(run_flwr(open_federation(federation.folder), "run", str(app), "fed", "--format", "json", *changes)["run-id"])


def wait_for_end(federation: Loopback, run_id: str) -> None:
    folder = open_federation(federation.folder)

    def is_over() -> bool:
        runs = run_flwr(folder, "ls", "fed", "--run-id", run_id, "--format", "json")["runs"]
        return str(runs[0]["status"]).startswith("finished")

    wait_for(is_over)


def hostile_app(folder: Path, out: Path, canary: Path) -> Path:
    """Write a bundle with code in every file from which a careless site would run it."""
    app = folder / "hostile"
    (app / "medfl").mkdir(parents=True)
    (app / "pyproject.toml").write_text(
        '[project]\nname = "hostile"\nversion = "1.0.0"\n[tool.flwr.app]\npublisher = "medfl"\n'
        '[tool.flwr.app.components]\nserverapp = "evil_server:app"\nclientapp = "evil_client:app"\n[tool.flwr.app.config]\n'
    )
    (app / "evil_server.py").write_text(SERVER.replace("OUT", repr(str(out))))
    canary_code = CANARY.format(path=str(canary))
    client = "from flwr.clientapp import ClientApp\napp = ClientApp()\n"
    for name in ("medfl/__init__.py", "medfl/client_app.py", "evil_client.py"):
        (app / name).write_text(canary_code + client)
    (app / "sitecustomize.py").write_text(canary_code)
    (app / "safetensors.py").write_text(canary_code)
    return app


def refusals(federation: Loopback) -> set[str]:
    """Return the reasons why sites could not join, over all runs."""
    return {
        event["reason"]
        for path in federation.runs.glob("*/*/history.jsonl")
        for event in map(json.loads, path.read_text().splitlines())
        if event["event"] == "failed"
    }


def test_code_in_a_bundle_is_refused_and_never_runs(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    with loopback(tmp_path, hospital_folders(nodule_hospitals)) as federation:
        federation.approve(nodule_study)
        federation.server_up()
        federation.sites_up()
        out, canary = tmp_path / "replies.json", tmp_path / "canary"
        wait_for_end(federation, submit(federation, hostile_app(tmp_path, out, canary)))
        replies = json.loads(out.read_text())
        assert replies == dict.fromkeys(("train", "evaluate", "query.join"), [safe_sentence("BUNDLE-CODE")] * 3)
        assert not canary.exists()
        wait_for_end(federation, submit(federation, _app(federation, nodule_study), "training.batch-size=9"))
        assert refusals(federation) == {safe_sentence("OVERRIDE-REFUSED")}
        for run in federation.runs.glob("*/*"):
            (run / "history.jsonl").unlink()
        larger = tmp_path / "larger" / "nodule"
        larger.mkdir(parents=True)
        text = (nodule_study / "pyproject.toml").read_text()
        (larger / "pyproject.toml").write_text(text.replace("batch-size = 8", "batch-size = 8\nlocal-epochs = 9"))
        wait_for_end(federation, submit(federation, _app(federation, larger)))
        assert refusals(federation) == {safe_sentence("STUDY-NOT-APPROVED")}
        for path in federation.hospitals.values():
            decisions = [json.loads(line).get("decision") for line in (path / "audit.jsonl").read_text().splitlines()]
            assert set(filter(None, decisions)) == {"BUNDLE-CODE", "OVERRIDE-REFUSED", "STUDY-NOT-APPROVED"}


def test_nothing_of_an_error_at_a_hospital_reaches_the_server(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    planted = "DOE^JANE 1961-03-04 /ward/7/1.2.840.113619.2.55"
    with loopback(tmp_path, hospital_folders(nodule_hospitals)) as federation:
        federation.approve(nodule_study)
        federation.server_up()
        federation.sites_up(fault=f"raise {planted}:1:{tmp_path / 'raised'}")
        done = federation.medfl("run", nodule_study, "--federation", federation.folder, "--json", check=False)
        assert done.returncode == 1
        assert "NOT-ANSWERED" in done.stderr
        federation.end()
        found = [path for path in federation.folder.rglob("*") if path.is_file() and _holds(path, planted)]
        assert found == []
        with sqlite3.connect(federation.folder / "superlink" / "state.db") as database:
            assert not any(planted in line for line in database.iterdump())


def _app(federation: Loopback, study: Path) -> Path:
    """Return the app of a study as medfl would submit it."""
    from medfl.deploy.bundle import write_app

    app = federation.root / f"app-{len(list(federation.root.glob('app-*')))}"
    write_app(study, {}, app)
    return app


def _holds(path: Path, text: str) -> bool:
    content = path.read_bytes()
    return any(word.encode() in content for word in (text, "DOE^JANE", "1.2.840.113619"))
