"""Real federation on loopback: a run gives the bits of its simulation, and logs that both sides can verify."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.models.trained_model import open_model
from medfl.runs import checkpoint_files
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import plan_simulation
from medfl.site import ensure_secret
from tests.deploy.local_server import needs_nginx, wait_for
from tests.deploy.loopback import loopback, override_options

pytestmark = [pytest.mark.slow, needs_nginx]

STUDIES = Path(__file__).parents[2] / "sample_configs"


def bits_of(run: Path) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in checkpoint_files.load(run, "final").arrays.items()}


def hospital_folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/site.toml"))


def simulate(study: Path, data: list[Path], out: Path, **changes: int) -> Path:
    simulation = plan_simulation(study, data, out, dict(changes))
    simulation.start(workers=1)
    return simulation.run


def test_a_run_gives_the_bits_of_its_simulation_and_logs_that_both_sides_can_verify(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    hospitals = hospital_folders(nodule_hospitals)
    expected = bits_of(simulate(nodule_study, [nodule_hospitals], tmp_path / "simulated"))
    with loopback(tmp_path, hospitals) as federation:
        federation.approve(nodule_study)
        federation.server_up()
        federation.sites_up()
        result = json.loads(federation.medfl("run", nodule_study, "--federation", federation.folder, "--json").stdout)
        run = Path(result["run"])
        assert bits_of(run) == expected
        assert Path(result["report"]).is_file()
        _require_nothing_kept_and_private(federation.folder)
        for hospital in hospitals:
            _require_signed_model(json.loads(federation.medfl("site", "models", hospital, "--json").stdout), run)
        written = [path for hospital in hospitals for path in (hospital / ".medfl").rglob("*")]
        assert {"worker.log", "supernode.log", "superexec.secret"} <= {path.name for path in written}
        assert [path for path in written if path.stat().st_mode & 0o077 and not path.is_symlink()] == []
        logs = [run / "audit.jsonl", *(path / "audit.jsonl" for path in hospitals)]
        assert "are unchanged" in federation.medfl("audit", "verify", *logs).stdout
        _forge(logs[1])
        done = federation.medfl("audit", "verify", *logs, check=False)
        assert done.returncode == 1
        assert "line 3: the line was changed" in done.stderr


@pytest.mark.realdata
def test_three_hospitals_segment_the_hippocampus_as_their_simulation_does(real_data: Path, tmp_path: Path) -> None:
    groups = _hippocampus(real_data / "hippocampus", tmp_path / "hospitals")
    changes = ("rounds=2", "training.local-epochs=1", "evaluation.every=1")
    study = STUDIES / "hippocampus"
    settings = {"rounds": 2, "training.local-epochs": 1, "evaluation.every": 1, "simulation.partition": "auto"}
    simulation = plan_simulation(study, [tmp_path / "hospitals"], tmp_path / "simulated", settings)  # type: ignore[arg-type]
    simulation.start(workers=1)
    with loopback(tmp_path, groups) as federation:
        federation.approve(study, *changes)
        federation.server_up()
        federation.sites_up()
        done = federation.medfl("run", study, "--federation", federation.folder, "--json", *override_options(changes))
        assert bits_of(Path(json.loads(done.stdout)["run"])) == bits_of(simulation.run)


def _require_signed_model(kept: list[dict[str, Any]], run: Path) -> None:
    """The hospital has the chosen model of the run, signed by the server, and nothing else."""
    (model,) = kept
    best = open_model(run)
    assert (model["is"], model["federation"], model["model"]) == ("signed", "loopback", "shared")
    assert (model["run"], model["hash"]) == (run.name, best.study.approved_hash())
    assert model["round"] == checkpoint_files.load(run, "best").meta["round"]
    own = open_model(Path(model["path"]))
    assert {name: np.asarray(a).tobytes() for name, a in own.arrays.items()} == {
        name: np.asarray(a).tobytes() for name, a in best.arrays.items()
    }
    tested = next(event for event in read_history(run) if event["event"] == "test")["sites"]
    assert model["test"]["score"] in [site["derived"]["auroc"] for site in tested.values()]  # they tell it exactly here


def _require_nothing_kept_and_private(folder: Path) -> None:
    """Wait until the server's database holds nothing of a run that ended; nobody else reads what the server wrote."""
    database = folder / "superlink" / "state.db"
    for table in ("objects", "message_ins", "message_res"):
        wait_for(lambda: _count(database, table) == 0)  # noqa: B023 - called within the loop
    written = [path for name in ("runs", "superlink", "logs") for path in (folder / name).rglob("*")]
    assert any(path.name == "final.safetensors" for path in written)
    assert [path for path in written if path.stat().st_mode & 0o077] == []


def _count(database: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


def _hippocampus(data: Path, out: Path) -> list[Path]:
    with (data / "index.csv").open() as index:
        groups = sorted({row["group"] for row in csv.DictReader(index)})[:3]
    folders = []
    for name in groups:
        folder = out / f"hospital-{name[0].lower()}"
        folder.mkdir(parents=True)
        (folder / "site.toml").write_text(
            f'name = "{folder.name}"\n[data]\nroot = "{data}"\nlayout = "csv"\nimage = "images/{{id}}.nii.gz"\n'
            f'label = "labels/{{id}}.nii.gz"\npatient = "id"\nwhere = "group={name}"\n[policy]\nmin-count = 0\n'
        )
        ensure_secret(folder / "site.secret")
        folders.append(folder)
    return folders


def _forge(log: Path) -> None:
    lines = log.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"event":"left"', '"event":"kept"')
    log.write_text("".join(lines))
