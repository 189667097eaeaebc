"""The arms of a comparison in a whole run: all are tested on the same patients, and none trains on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medfl.clients import session
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.errors import ConfigError
from medfl.evaluation.patient_results import read_patient_results
from medfl.models.run_models import find_arrays
from medfl.runs.history import read_history
from medfl.runs.run_folder import Run
from medfl.server.joining import with_simulated_sites
from medfl.study import read_app, read_app_and_run_config, read_study_file
from tests.server.direct_grid import conduct
from tests.studies import NODULE_STUDY

TRAINED: dict[str, set[str]] = {}  # pseudonyms by arm
ARMS = ("federated", "local", "pooled", "ensemble", "fine-tuned")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a run of one round with all arms."""
    folder = tmp_path_factory.mktemp("arms")
    (folder / "nodule").mkdir()
    (folder / "nodule" / "pyproject.toml").write_text(NODULE_STUDY)
    data = make_nodule_images(folder / "hospitals", hospitals=3, patients=12, seed=1)
    changes: dict[str, Any] = {"arms": ",".join(ARMS), "rounds": 1, "simulation.data": str(data)}
    changes |= {"simulation.store": str(folder / "store"), "server.out": str(folder / "runs"), "server.run": "one"}
    _, config = read_app_and_run_config(read_study_file(folder / "nodule"), changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "train", _noting_patients(session.train))
        conduct(config)
    yield folder / "runs" / "nodule" / "one"
    TRAINED.clear()


def _noting_patients(train: Callable[..., TrainResult]) -> Callable[..., TrainResult]:
    def noting(task: TrainTask, *args: Any) -> TrainResult:
        TRAINED.setdefault(task.arm, set()).update(case.patient for case in task.prepared.get_split("train"))
        return train(task, *args)

    return noting


def test_all_arms_train_and_are_tested_on_the_same_patients(run: Path) -> None:
    tested = {arm: set(read_patient_results(run, arm=arm)) for arm in ARMS}
    assert tested["federated"]
    assert all(patients == tested["federated"] for patients in tested.values())
    assert TRAINED.keys() == set(ARMS) - {"ensemble"}
    assert all(patients == TRAINED["federated"] for patients in TRAINED.values())
    assert not TRAINED["federated"] & {pseudonym for _, pseudonym in tested["federated"]}
    scored = {e["arm"]: e["sites"] for e in read_history(run) if e["event"] == "scored"}
    validated = {arm: {site: s["metrics"]["eval.patients"] for site, s in sites.items()} for arm, sites in scored.items()}
    assert validated.keys() == TRAINED.keys()
    assert all(patients == validated["federated"] for patients in validated.values())


def test_every_chosen_model_is_tested_once(run: Path) -> None:
    events = [e for e in read_history(run) if e["event"] == "test"]
    tested = {arm: [e for e in events if e["arm"] == arm] for arm in ARMS}
    assert [len(tested[arm]) for arm in ARMS] == [1, 3, 1, 1, 3]
    everyone = tested["federated"][0]["eval"]["eval.patients"]
    assert all(e["eval"]["eval.patients"] == everyone for arm in ARMS[:4] for e in tested[arm])
    assert sum(e["eval"]["eval.patients"] for e in tested["fine-tuned"]) == everyone
    assert all(list(e["sites"]) == [e["model"]["site"]] for e in tested["fine-tuned"])


def test_the_ensemble_gives_the_mean_probabilities_of_the_local_models(run: Path) -> None:
    study, names = Run.open(run).study, [folder.name for folder in sorted((run / "sites").iterdir())]
    assert study.task.kind == "classification"
    for site in names:
        together, *each = (
            json.loads((run / "sites" / site / folder / "test.json").read_bytes())["patients"]
            for folder in ("ensemble", *(f"local/{owner}" for owner in names))
        )
        for patient, (unit, *_) in together.items():
            for name, probability in unit["probabilities"].items():
                mean = sum(one[patient][0]["probabilities"][name] for one in each) / len(each)
                assert probability == pytest.approx(mean, abs=1e-6)


def test_an_ensemble_tells_what_a_federation_would_send_for_it(run: Path) -> None:
    (event,) = (e for e in read_history(run) if e["event"] == "test" and e["arm"] == "ensemble")
    members = event["model"]["members"]
    size = sum(array.nbytes for array in find_arrays(Run.open(run), "local", min(members), "best").values())
    assert len(members) == 3
    assert (event["bytes-up"], event["bytes-down"]) == (3 * size, 6 * size)


def test_fine_tuning_begins_with_the_federated_model_which_may_stay_the_best(run: Path) -> None:
    opened, events = Run.open(run), read_history(run)
    federated = find_arrays(opened, "federated", None, "best")
    (event,) = (e for e in events if e["event"] == "round" and e["arm"] == "fine-tuned")
    last = next(e for e in events if e["event"] == "scored" and e["arm"] == "fine-tuned")
    chosen = {e["model"]["site"]: e["model"]["round"] for e in events if e["event"] == "test" and e["arm"] == "fine-tuned"}
    for site, best in chosen.items():
        assert best == (1 if last["scores"][site] > event["scores"][site] else 0)
        model = find_arrays(opened, "fine-tuned", site, "best")
        assert (best > 0) == any((model[name] != federated[name]).any() for name in federated)


def test_pooled_training_takes_the_steps_and_patients_of_all_sites(run: Path) -> None:
    events = read_history(run)
    rounds = {e["arm"]: e["sites"].values() for e in events if e["event"] == "round"}
    sums = {
        arm: [sum(site["metrics"][f"train.{what}"] for site in sites) for what in ("steps", "patients", "samples")]
        for arm, sites in rounds.items()
    }
    assert sums["pooled"] == sums["local"] == sums["federated"] == sums["fine-tuned"]
    assert len(rounds["pooled"]) == 1


def test_the_pooled_model_can_be_taken_out(run: Path) -> None:
    opened = Run.open(run)
    pooled, federated = (find_arrays(opened, arm, None, "best") for arm in ("pooled", "federated"))
    assert pooled.keys() == federated.keys()
    assert any((pooled[name] != federated[name]).any() for name in pooled)


@pytest.mark.parametrize(
    ("arms", "reason"),
    [
        ("federated,pooled", "no patient leaves a real hospital"),
        ("federated,local,ensemble", "no hospital gives its own away"),
        ("federated,fine-tuned", "personal.fine-tune-steps tunes"),
    ],
)
def test_real_hospitals_are_not_asked_for_arms_of_a_simulation(nodule_study: Path, arms: str, reason: str) -> None:
    app = read_app(nodule_study, {"arms": arms, "server.enrolled": "a,b"})
    with pytest.raises(ConfigError, match=reason):
        with_simulated_sites(app)
