"""Names of strategies: whoever runs a study has them installed; a hospital may read of one that it has not."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medfl.cli.app import app
from medfl.deploy.study_summary import policy_conflicts
from medfl.errors import ConfigError
from medfl.site import init_site, read_site
from medfl.study import installed_strategies, read_app, read_run_config, read_study, study_from_run_config


def problems_of(error: BaseException | None) -> dict[str, str]:
    assert isinstance(error, ConfigError)
    return {problem.key: f"{problem.what} {problem.fix}" for problem in error.problems}


@pytest.mark.parametrize(
    "words",
    [
        ["study", "check", "STUDY"],
        ["study", "check", "STUDY", "--data", "DATA"],
        ["study", "bundle", "STUDY", "--out", "OUT"],
        ["simulate", "STUDY", "--data", "DATA", "--out", "OUT"],
        ["sweep", "STUDY", "--data", "DATA", "--out", "OUT", "--strategies", "fedprox"],
    ],
    ids=" ".join,
)
def test_a_misspelt_strategy_is_reported_with_the_nearest_and_with_all_other_problems(
    words: list[str], nodule_study: Path, tmp_path: Path
) -> None:
    paths = {"STUDY": str(nodule_study), "DATA": str(tmp_path), "OUT": str(tmp_path / "out")}
    wrong = ["-c", "strategy.name=fedproxx", "-c", "rounds=0", "-c", "server.runn=x", "-c", "simulation.arms=local"]
    done = CliRunner().invoke(app, [paths.get(word, word) for word in words] + wrong)
    problems = problems_of(done.exception)
    assert problems.keys() == {"strategy.name", "rounds", "server.runn", "simulation.arms"}
    assert "Did you mean 'fedprox'?" in problems["strategy.name"]
    assert "Did you mean 'run'?" in problems["server.runn"]
    assert not (tmp_path / "out").exists()


def test_a_strategy_of_an_installed_package_is_valid_and_may_be_meant(
    nodule_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = {"medfl.strategies": [EntryPoint("gentle", "gentle.server:build", "medfl.strategies")]}
    monkeypatch.setattr(installed_strategies, "entry_points", lambda group: offered[group])
    assert read_app(nodule_study, {"strategy.name": "gentle"}).study.strategy.name == "gentle"
    with pytest.raises(ConfigError) as caught:
        read_app(nodule_study, {"strategy.name": "gentel"})
    assert problems_of(caught.value)["strategy.name"].endswith("Did you mean 'gentle'?")


def test_a_hospital_reads_a_study_whose_strategy_it_has_not_installed_and_refuses_it_by_its_own_policy(
    nodule_study: Path, tmp_path: Path
) -> None:
    change = {"strategy.name": "gentle"}
    study = read_study(nodule_study, change)
    assert study_from_run_config(read_run_config(nodule_study) | change) == study
    site = read_site(init_site(tmp_path / "site", "hospital-a", "."))
    assert policy_conflicts(study, site) == [
        "The algorithm 'gentle' comes from another package, and is not in 'policy.extensions'."
    ]
