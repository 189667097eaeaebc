"""Reading of studies: whole, frozen, and refused with all problems at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medfl.errors import ConfigError
from medfl.schema import Section
from medfl.study import Study, flatten, read_run_config, read_study, study_from_run_config
from medfl.testing.sites import make_study

SAMPLES = sorted((Path(__file__).parents[2] / "sample_configs").glob("*/pyproject.toml"))

CONFIG = """
[project]
name = "{name}"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "liver"
rounds = 3
{more}
[tool.flwr.app.config.task]
kind = "segmentation"
dimension = 3
modality = "CT"
classes = "background, liver"
[tool.flwr.app.config.network]
name = "unet"
channels = "8,16"
[tool.flwr.app.config.loss]
name = "dice-ce"
"""


def write(folder: Path, *, name: str = "liver", more: str = "", text: str = CONFIG) -> Path:
    (folder / "pyproject.toml").write_text(text.format(name=name, more=more))
    return folder


def problems_of(folder: Path, **overrides: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        read_study(folder, {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()})
    return {problem.key: f"{problem.what} {problem.fix}" for problem in caught.value.problems}


def test_a_study_is_read_with_lists_written_as_text(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    assert study.task.classes == ("background", "liver")
    assert study.network.channels == (8, 16)
    assert study.task.foreground == ("liver",)


def test_a_study_cannot_be_changed(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        study.rounds = 9  # type: ignore[misc]


def test_flower_hands_the_same_study_to_an_app(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert study_from_run_config(read_run_config(folder)) == read_study(folder)


def test_overrides_replace_values_of_the_file(tmp_path: Path) -> None:
    assert read_study(write(tmp_path), {"rounds": 7, "optimizer.learning-rate": 0.5}).optimizer.learning_rate == 0.5


def test_every_problem_is_reported_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    problems = problems_of(
        write(tmp_path),
        rounds="two",
        task__modalty="MR",
        loss__name="dicece",
        optimizer__learning_rate=-1,
        network__chanels="3",
        trainning__patch="1",
    )
    assert problems["rounds"] == "needs a whole number (came 'two'). "
    assert "Did you mean 'modality'?" in problems["task.modalty"]
    assert "Did you mean 'dice-ce'?" in problems["loss.name"]
    assert "Did you mean 'channels'?" in problems["network.chanels"]
    assert "Did you mean 'training'?" in problems["trainning"]
    assert len(problems) == 6


def test_problems_of_all_tables_are_reported_at_once(tmp_path: Path) -> None:
    wrong = {"network__norm": "batch", "simulaton__data": "x", "simulation__partition": "random", "server__runn": "x"}
    problems = problems_of(write(tmp_path), **wrong)
    assert problems.keys() == {"simulaton", "simulation.sites", "server.runn", "network.norm"}
    assert "Did you mean 'simulation'?" in problems["simulaton"]
    assert "cannot be averaged" in problems["network.norm"]
    assert problems_of(tmp_path, server="x", simulation=3).keys() == {"server", "simulation"}


def test_an_unknown_network_names_those_there_are(tmp_path: Path) -> None:
    problems = problems_of(write(tmp_path), network__name="unett")
    assert "segresnet" in problems["network.name"]
    assert "Did you mean 'unet'?" in problems["network.name"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network.name", "resnet", "not for segmentation"),
        ("network.norm", "batch", "cannot be averaged over hospitals"),
        ("training.patch", "32,32", "needs 3 or none"),
        ("augmentation.flip", "3", "axes run from 0 to 2"),
        ("loss.class-weights", "1,2,3", "needs 'balanced' or 2 positive numbers"),
        ("preprocessing.intensity", "window", "needs 'window'"),
        ("strategy.max-sites", 1, "max-sites: a run needs 2 hospitals, and this lets it have 1"),
        ("strategy.max-share", 0.0, "must be"),
        ("strategy.max-share", 1.5, "must be at most 1"),
        ("splits.test", 0.95, "leave no patient for training"),
        ("simulation.partition", "column", "needs the name of a column"),
        ("simulation.column", "site", "column: does nothing without a partition; write partition = 'column'"),
        ("simulation.sites", 3, "sites: does nothing without a partition; write partition = 'random'"),
        ("simulation.alpha", 0.5, "alpha: does nothing with partition = 'auto'; write partition = 'label-skew' or"),
        ("simulation.partition", "label-skew", "sites: partition = 'label-skew' needs 2 or more"),
        ("simulation.partition", "positives", "positives: partition = 'positives' needs a share for each hospital"),
        ("simulation.scanner-sites", "1", "does nothing without a strength"),
        ("training.patch", "a,b,c", "whole numbers"),
        ("preprocessing.spacing", "1,1,x", "numbers"),
        ("preprocessing.spacing", "1,1,nan", "numbers"),
        ("optimizer.learning-rate", float("inf"), "finite"),
        ("training.patch", "0,32,32", "at least 1"),
        ("network.channels", "8,-16", "at least 1"),
        ("network.strides", "0", "at least 1"),
        ("task.labels", "positions", "values of masks are positions as it is"),
        ("task.classes", "Liver,liver", "names one class twice"),
        ("task.classes", "1,1.0", "names one class twice"),
        ("task.classes", "0,02,2", "names one class twice"),
        ("task.classes", "Grade  1,grade 1", "names one class twice"),
        ("task.classes", "liver,liver\u200b", "names one class twice"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    folder = write(tmp_path)
    if key == "network.name":
        text = CONFIG.replace('channels = "8,16"', "")
        folder = write(tmp_path, text=text)
    if key == "strategy.max-sites":
        folder = write(tmp_path, more="strategy.quorum = 2")
    with pytest.raises(ConfigError, match=message):
        read_study(folder, {key: value})


def test_components_other_than_medfl_are_refused(tmp_path: Path) -> None:
    text = CONFIG.replace("medfl.client_app:app", "evil.client:app")
    assert "holds no code" in problems_of(write(tmp_path, text=text))["tool.flwr.app.components.clientapp"]


def test_a_study_brings_no_packages(tmp_path: Path) -> None:
    text = CONFIG.replace('version = "1.0.0"', 'version = "1.0.0"\ndependencies = ["flwr-medfl"]')
    assert "names no packages" in problems_of(write(tmp_path, text=text))["project.dependencies"]


def test_the_name_must_be_the_projects(tmp_path: Path) -> None:
    assert "must be the project's name 'kidney'" in problems_of(write(tmp_path, name="kidney"))["tool.flwr.app.config.name"]


def test_a_folder_without_a_study_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_study(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\nname='x'\n")
    with pytest.raises(ConfigError, match="not a study"):
        read_study(tmp_path)
    (tmp_path / "pyproject.toml").write_text("= nonsense")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_study(tmp_path)


def test_the_hash_of_a_study_is_the_same_number_in_every_version(nodule_study: Path) -> None:
    alone, both = read_study(nodule_study), read_study(nodule_study, {"arms": "federated,local"})
    assert alone.approved_hash() == "0aabca4fbf53ac074858a3ea2bf99740fd7036ca1bff5928ca30f9fa8f257308"
    assert both.approved_hash() == "7b528ef28882a6fe98a33fad61aed28073063e087c21ebc84e3ef0eae554c68d"


def leaves_of(section: Section, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        yield from leaves_of(value, (*prefix, name)) if isinstance(value, Section) else [(*prefix, name)]


def with_another(section: Section, place: tuple[str, ...]) -> Section:
    name, *rest = place
    value = getattr(section, name)
    if rest:
        return section.model_copy(update={name: with_another(value, tuple(rest))})
    if isinstance(value, bool):
        return section.model_copy(update={name: not value})
    doubled = None if value is None else value * 2  # None: a key that follows another one unless it is given
    return section.model_copy(update={name: doubled or ((("x", 1),) if isinstance(value, tuple) else 1)})


@pytest.mark.parametrize("arms", ["federated,federated", "local,federated,local", "", "alone"])
def test_each_arm_is_named_once(arms: str, nodule_study: Path) -> None:
    with pytest.raises(ConfigError, match=r"arms: .*may hold federated, local, pooled, ensemble, fine-tuned, each once"):
        read_study(nodule_study, {"arms": arms})


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # not every other value is of the right type
def test_the_hash_changes_with_every_key_of_the_study(nodule_study: Path) -> None:
    study = read_study(nodule_study)
    places = list(leaves_of(study))
    hashes = {with_another(study, place).approved_hash() for place in places}  # type: ignore[attr-defined]
    assert len(places) > 80
    assert len(hashes | {study.approved_hash()}) == len(places) + 1


@pytest.mark.parametrize(
    ("arms", "method", "max_sites", "limit"),
    [
        ("federated", "none", 3, None),
        ("federated", "alignment", 3, None),
        ("federated", "leave-one-out", 0, 16),
        ("federated", "shapley", 0, 6),
        ("federated", "shapley", 3, 3),
        ("local", "leave-one-out", 3, 3),
        ("federated,local", "none", 40, 40),
    ],
)
def test_hospitals_are_limited_only_where_each_is_asked_more_for_every_other(
    nodule_study: Path, arms: str, method: str, max_sites: int, limit: int | None
) -> None:
    changes: dict[str, Any] = {"arms": arms, "contribution.method": method, "strategy.max-sites": max_sites}
    study = read_study(nodule_study, changes)
    assert study.site_limit == limit
    study.check_sites(limit or 1000)
    if limit:
        with pytest.raises(ConfigError):
            study.check_sites(limit + 1)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.parent.name)
def test_every_sample_study_is_valid_and_takes_the_folder_of_its_data(path: Path) -> None:
    study = read_study(path.parent)
    assert study.name == path.parent.name
    assert {"simulation.data", "server.out", "arms"} <= read_run_config(path.parent).keys()


def test_there_are_the_sample_studies_of_the_readme() -> None:
    names = {path.parent.name for path in SAMPLES}
    assert {"brain-tissue", "hippocampus", "lungs", "chest-xray-view", "breast-ultrasound"} <= names


def test_flattening_keeps_every_value() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": "x"}) == {"a.b.c": 1, "d": "x"}


def test_a_study_survives_being_a_key(tmp_path: Path) -> None:
    study = read_study(write(tmp_path))
    assert {study: 1}[Study.model_validate(study.model_dump())] == 1


def test_a_study_may_be_given_by_its_file(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert read_study(folder / "pyproject.toml") == read_study(folder)
    assert read_run_config(folder / "pyproject.toml") == read_run_config(folder)


@pytest.mark.parametrize(
    ("name", "what"),
    [("empty", "there is no such file in the folder"), ("gone", "is not there"), ("y.txt", "is a file")],
)
def test_what_is_no_study_is_named(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "y.txt").write_text("")
    text = problems_of(tmp_path / name)["(whole file)"]
    assert what in text
    assert str(tmp_path / name) in text


def test_a_key_of_thousands_of_parts_is_refused_as_any_unknown_key(tmp_path: Path) -> None:
    folder, deep = write(tmp_path), "server." + ".".join("a" * 5000)
    for read in (lambda: study_from_run_config(read_run_config(folder) | {deep: 1}), lambda: read_study(folder, {deep: 1})):
        with pytest.raises(ConfigError, match=r"server\.a: there is no such key here"):
            read()


def test_tables_with_the_same_flat_items_are_not_taken_for_each_other(tmp_path: Path) -> None:
    read_study(write(tmp_path))
    assert "strange" in problems_of(write(tmp_path, text=CONFIG + "[tool.flwr.app.config.strange]\n"))
    assert "task.kind" in problems_of(
        write(
            tmp_path,
            text=CONFIG.replace('kind = "segmentation"', "").replace("rounds = 3", 'rounds = 3\n"task.kind" = "segmentation"'),
        )
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"arms": "federated,ensemble"}, "'ensemble' begins with the models of 'local'"),
        ({"arms": "local,fine-tuned"}, "'fine-tuned' begins with the models of 'federated'"),
        ({"rounds": 4, "personal": {"fine-tune-rounds": 5}}, "may be 4 at most"),
    ],
)
def test_arms_that_cannot_be_made_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_study(**fields)


def test_each_arm_has_its_rounds() -> None:
    study = make_study(rounds=10)
    assert [study.rounds_of(arm) for arm in ("federated", "local", "pooled", "ensemble", "fine-tuned")] == [10, 10, 10, 0, 2]
    assert make_study(rounds=2).rounds_of("fine-tuned") == 1
    assert make_study(rounds=9, personal={"fine-tune-rounds": 9}).rounds_of("fine-tuned") == 9


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"partition": "quantity-skew", "shares": "0.6,0.3"}, "shares", "together they must be 1; they are 0.9"),
        ({"partition": "quantity-skew", "shares": "0.6,0.4", "sites": 3}, "shares", "holds 2 numbers for 3 hospitals"),
        ({"partition": "quantity-skew", "shares": "0.6,0.4", "alpha": 1.0}, "shares", "needs either 'alpha', or"),
        ({"partition": "quantity-skew", "sites": 3}, "shares", "needs either 'alpha', or"),
        ({"partition": "label-skew", "sites": 3}, "alpha", "needs a number above 0"),
        ({"partition": "random", "sites": 3, "alpha": 0.1}, "alpha", "does nothing with partition = 'random'"),
        ({"partition": "positives", "positives": "0.5,1.5"}, "positives", "every share must be from 0 to 1"),
        ({"partition": "positives", "positives": "0.5,0.5"}, "partition", "is for classification"),
    ],
)
def test_a_division_that_cannot_be_is_refused(settings: dict[str, Any], key: str, message: str, tmp_path: Path) -> None:
    found = problems_of(write(tmp_path), **{f"simulation__{name}": value for name, value in settings.items()})
    assert list(found) == [f"simulation.{key}"]
    assert message in found[f"simulation.{key}"]
