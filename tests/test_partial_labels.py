"""Hospitals that annotate different structures, from their files to the report."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from medfl.metrics import headline
from medfl.report import write_report
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import plan_simulation
from tests.studies import study_text

STUDY = study_text(
    "pair",
    """
rounds = 2
arms = "federated,local"
[task]
kind = "segmentation"
dimension = 3
modality = "MR"
classes = "background,left,right"
[network]
name = "unet"
channels = "4,8"
residual-units = 0
[loss]
name = "dice-ce"
[training]
local-steps = 2
[strategy]
name = "condist"
""",
)
KNOWS = {"east": "left", "north": "left,right", "west": "right"}


def write_hospital(folder: Path, annotated: str, patients: int = 6) -> None:
    """Write patients with both structures, marked both: what a site does not vouch for must not be used."""
    (folder / "data").mkdir(parents=True)
    said = f'annotated-classes = "{annotated}"' if annotated != "left,right" else ""
    (folder / "site.toml").write_text(f'name = "{folder.name}"\n[data]\nroot = "data"\n{said}\n[policy]\nmin-count = 0\n')
    rows = ["image,label,patient"]
    for k in range(patients):
        rng = np.random.default_rng(k)
        label = np.zeros((12, 12, 8), np.int16)
        label[1:5, 2:9, 2:6], label[7:11, 2:9, 2:6] = 1, 2
        image = (rng.normal(0, 9, label.shape) + 100 * label).astype(np.int16)
        for name, array in (("image", image), ("label", label)):
            written = nib.Nifti1Image(array, np.eye(4))
            written.header.set_xyzt_units("mm")
            nib.save(written, folder / "data" / f"{name}{k}.nii")
        rows.append(f"image{k}.nii,label{k}.nii,p{k}")
    (folder / "data" / "index.csv").write_text("\n".join(rows) + "\n")


def test_each_hospital_teaches_and_judges_what_it_annotated(tmp_path: Path) -> None:
    for name, annotated in KNOWS.items():
        write_hospital(tmp_path / "hospitals" / name, annotated)
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "pyproject.toml").write_text(STUDY)
    simulation = plan_simulation(tmp_path / "pair", [tmp_path / "hospitals"], tmp_path / "runs")
    simulation.start(workers=1)
    events = read_history(simulation.run)
    joined = {event["site"]: event for event in events if event["event"] == "joined"}
    assert {site: ",".join(event["annotated"]) for site, event in joined.items()} == KNOWS
    assert {site: event["warnings"] for site, event in joined.items()} == {
        "east": {"LBL-BEYOND": 6},
        "north": {},
        "west": {"LBL-BEYOND": 6},
    }
    tests = [event for event in events if event["event"] == "test"]
    assert [event["arm"] for event in tests] == ["federated", "local", "local", "local"]
    for event in tests:
        judged = {
            site: [entry["metrics"][f"eval.patients.{name}"] for name in ("left", "right")]
            for site, entry in event["sites"].items()
        }
        everybody = event["sites"]["north"]["metrics"]["eval.patients"]
        assert judged == {"east": [everybody, 0], "north": [everybody] * 2, "west": [0, everybody]}
        assert headline(simulation.study, event["eval"]) >= 0
    page = write_report(simulation.run).read_text()
    assert "Who annotated what" in page
