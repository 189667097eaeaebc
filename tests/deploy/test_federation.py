"""Real federation on loopback: a run gives the bits of its simulation, and logs that both sides can verify."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medfl.runs import checkpoint_files
from medfl.simulation.simulated_run import plan_simulation
from medfl.site import ensure_secret
from tests.deploy.local_server import needs_nginx
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
        logs = [run / "audit.jsonl", *(path / "audit.jsonl" for path in hospitals)]
        assert "are unchanged" in federation.medfl("audit", "verify", *logs).stdout
        _forge(logs[1])
        done = federation.medfl("audit", "verify", *logs, check=False)
        assert done.returncode == 1
        assert "line 2: the line was changed" in done.stderr


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
    lines[1] = lines[1].replace('"event":"left"', '"event":"kept"')
    log.write_text("".join(lines))
