"""Keys that have another place than before: a study that has them is refused with the line to write instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medfl.deploy.bundle import read_bundle_study, write_app
from medfl.deploy.untrusted_bundle import read_untrusted_study
from medfl.errors import ConfigError
from medfl.simulation.simulated_run import plan_simulation
from medfl.study import app_from_run_config, read_app, read_run_config, read_study, study_from_run_config

OLD = {"simulation.arms": "federated,local"}
READERS: dict[str, Callable[[Path, dict[str, Any]], object]] = {
    "read_app": read_app,
    "read_study": read_study,
    "medfl simulate": lambda study, changes: plan_simulation(study, [study], study, changes),
    "medfl study bundle": lambda study, changes: write_app(study, changes, study / "app"),
    "an app": lambda study, changes: app_from_run_config(read_run_config(study) | changes),
    "a site": lambda study, changes: study_from_run_config(read_run_config(study) | changes),
}


def problems_of(read: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        read()
    return {problem.key: f"{problem.what} {problem.fix}" for problem in caught.value.problems}


def assert_says_what_to_write(text: str) -> None:
    assert 'write arms = "federated,local" in [tool.flwr.app.config].' in text


@pytest.mark.parametrize("reader", READERS)
def test_it_is_refused_among_all_other_problems(reader: str, nodule_study: Path) -> None:
    problems = problems_of(lambda: READERS[reader](nodule_study, OLD | {"rounds": 0, "simulation.prev": 1}))
    assert problems.keys() == {"simulation.arms", "rounds", "simulation.prev"}
    assert_says_what_to_write(problems["simulation.arms"])


def test_who_was_sent_a_bundle_of_before_asks_for_a_new_one(nodule_study: Path) -> None:
    config = read_run_config(nodule_study) | OLD | {"rounds": 0}
    problems = problems_of(lambda: read_untrusted_study(config))
    assert problems.keys() == {"simulation.arms", "rounds"}
    assert "made by an earlier medfl" in problems["simulation.arms"]
    assert "Ask for one that 'medfl study bundle' of this version made" in problems["simulation.arms"]
    assert "your approval still holds" in problems["simulation.arms"]
    assert "arms =" not in problems["simulation.arms"]


@pytest.mark.parametrize("read", [read_app, read_study, read_bundle_study, lambda study: write_app(study, {}, study / "app")])
def test_it_is_refused_in_the_file_of_a_study(read: Callable[[Path], object], nodule_study: Path) -> None:
    file = nodule_study / "pyproject.toml"
    text = file.read_text().replace('arms = "federated"\n', "").replace('store = ""', 'store = ""\narms = "federated,local"')
    file.write_text(text)
    problems = problems_of(lambda: read(nodule_study))
    assert problems.keys() == {"simulation.arms"}
    assert_says_what_to_write(problems["simulation.arms"])
