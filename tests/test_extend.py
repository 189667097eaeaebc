"""The example of docs/extend.md: short, passes the contract, and runs from an installed package where a site allows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from medfl.clients.algorithms.algorithm_registry import build_algorithm
from medfl.errors import ConfigError
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import plan_simulation

DOCUMENT = (Path(__file__).parents[1] / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", DOCUMENT, re.DOTALL))
TABLES = re.findall(r"```toml\n(\[.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Lay the package out as pip would, and return the folder."""
    folder = tmp_path / "site-packages"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "gentle" / "__init__.py").touch()
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = folder / f"medfl_gentle-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    offered = project["entry-points"].items()
    points = [f"[{group}]\n" + "\n".join(f"{name} = {place}" for name, place in found.items()) for group, found in offered]
    (info / "entry_points.txt").write_text("\n".join(points) + "\n")
    return folder


def test_the_example_is_complete_and_short() -> None:
    assert FILES.keys() == {"pyproject.toml", "gentle/server.py", "gentle/client.py", "test_gentle.py"}
    lines = [line for text in (*FILES.values(), *TABLES) for line in text.splitlines() if line.strip()]
    assert len(lines) < 60


@pytest.mark.slow
def test_it_passes_the_contract_as_its_author_runs_it(installed: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_gentle.py"]
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 30


def test_it_runs_by_name_at_sites_that_allow_it_and_at_no_others(
    installed: Path, nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed)
    asked, allowed = (tomllib.loads(text) for text in TABLES)
    options = asked["tool"]["flwr"]["app"]["config"]["strategy"]
    changes = {"strategy.name": options["name"], "strategy.options.share": options["options"]["share"]}

    with pytest.raises(ConfigError, match=r"strategy\.options\.shar: .*no such option.*Did you mean 'share'"):
        plan_simulation(nodule_study, [nodule_hospitals], tmp_path / "runs", {**changes, "strategy.options.shar": 0.8})
    forbidden = plan_simulation(nodule_study, [nodule_hospitals], tmp_path / "runs", changes)
    with pytest.raises(ConfigError, match=r"policy\.extensions: .*'gentle'.*has not allowed"):
        build_algorithm(forbidden.study, forbidden.sites[0])
    for file in nodule_hospitals.glob("*/site.toml"):
        file.write_text(f"{file.read_text()}extensions = {allowed['policy']['extensions']!r}\n")  # its last table is the policy
    simulation = plan_simulation(nodule_study, [nodule_hospitals], tmp_path / "runs", changes)
    simulation.start(workers=2)
    events = read_history(simulation.run)
    assert events[-1]["status"] == "completed"
    assert {entry["status"] for e in events if e["event"] == "round" for entry in e["sites"].values()} == {"ok"}
