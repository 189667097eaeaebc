from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medfl import metrics
from medfl.clients import session
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.training.task import TrainTask
from medfl.data.cases import Case
from medfl.data.store.prepared_data import PreparedCase, PreparedData, ReferenceMask
from medfl.errors import ExchangeError, TrainingError
from medfl.messages import records
from medfl.runs.case_table import read_case_table
from medfl.site import Policy
from tests.clients.conftest import NO_STATE

BUSY = {"flip": "0", "rotate": 10, "noise": 0.1, "blur": 0.5, "gamma": 0.2}


def run(study, site, data, *, rounds=1, seed=1, arrays=None, net=None):
    net = net or build_network(study)
    arrays = arrays or get_arrays(net)
    for k in range(1, rounds + 1):
        outcome = session.train(TrainTask(study, site, data, net, arrays, k, seed + k, NO_STATE))
        arrays = outcome.arrays
    return outcome


@pytest.mark.parametrize("network", [{"name": "unet", "channels": "4,8", "residual-units": 1, "dropout": 0.2}])
def test_same_inputs_give_the_same_bits_with_another_training_between(make_study, site, organs, network) -> None:
    study = make_study(network=network, augmentation=BUSY, training={"patch": "8,8", "patches-per-image": 2})
    net = build_network(study)
    start = get_arrays(net)
    one = session.train(TrainTask(study, site, organs(), net, start, 1, 5, NO_STATE))
    other = session.train(TrainTask(study, site, organs(3), net, one.arrays, 2, 99, NO_STATE))
    torch.manual_seed(1234)
    np.random.seed(1)  # noqa: NPY002
    two = session.train(TrainTask(study, site, organs(), net, start, 1, 5, NO_STATE))
    assert all(np.array_equal(one.arrays[k], two.arrays[k]) for k in start)
    assert one.metrics[records.TRAIN_LOSS] == two.metrics[records.TRAIN_LOSS]
    assert not all(np.array_equal(one.arrays[k], other.arrays[k]) for k in start)


def test_seed_decides_the_result(make_study, site, organs) -> None:
    study = make_study()
    one, two = run(study, site, organs(), seed=1), run(study, site, organs(), seed=2)
    assert not all(np.array_equal(one.arrays[k], two.arrays[k]) for k in one.arrays)


def test_training_learns_to_segment_and_reports_its_counts(make_study, site, organs) -> None:
    study = make_study(optimizer={"learning-rate": 0.02}, training={"local-epochs": 15, "batch-size": 3})
    data, net = organs(), build_network(study)
    before = session.evaluate(study, site, data, net, get_arrays(net), "validation")
    outcome = run(study, site, data, net=net)
    after = session.evaluate(study, site, data, net, outcome.arrays, "validation")
    assert metrics.headline(study, after) > 0.9 > metrics.headline(study, before)
    assert float(after[records.EVAL_LOSS]) < float(before[records.EVAL_LOSS])  # type: ignore[arg-type]
    assert outcome.metrics[records.TRAIN_PATIENTS] == 6
    assert outcome.metrics[records.TRAIN_SAMPLES] == 6
    assert outcome.metrics[records.TRAIN_STEPS] == 30
    assert set(outcome.metrics) == {
        records.TRAIN_PATIENTS,
        records.TRAIN_SAMPLES,
        records.TRAIN_STEPS,
        records.TRAIN_LOSS,
        records.TRAIN_SECONDS,
    }


def test_training_learns_to_classify(make_study, site, findings) -> None:
    training = {"local-epochs": 10, "batch-size": 4, "balanced-sampling": True}
    loss = {"name": "cross-entropy", "class-weights": "balanced"}
    study = make_study("classification", optimizer={"learning-rate": 0.01}, training=training, loss=loss)
    outcome = run(study, site, findings)
    scores = session.evaluate(study, site, findings, build_network(study), outcome.arrays, "test")
    assert metrics.headline(study, scores) == 1.0
    assert scores[records.EVAL_PATIENTS] == 4


def test_given_arrays_are_not_changed(make_study, site, organs) -> None:
    study = make_study()
    net = build_network(study)
    start = get_arrays(net)
    before = {k: a.copy() for k, a in start.items()}
    outcome = session.train(TrainTask(study, site, organs(), net, start, 1, 1, NO_STATE))
    assert all(np.array_equal(start[k], before[k]) for k in start)
    assert list(outcome.arrays) == list(start)
    assert not any(np.shares_memory(outcome.arrays[k], start[k]) for k in start)


def test_learning_rate_goes_on_across_rounds(make_study, site, organs) -> None:
    optimizer = {"name": "sgd", "learning-rate": 0.1, "momentum": 0.0}
    study = make_study(optimizer=optimizer, schedule={"name": "polynomial", "power": 1}, training={"local-steps": 1})
    start = get_arrays(build_network(study))
    moved = []
    for server_round in (1, 4):
        outcome = session.train(TrainTask(study, site, organs(), build_network(study), start, server_round, 3, NO_STATE))
        moved.append(np.concatenate([(outcome.arrays[k] - start[k]).ravel() for k in start]))
    # middle of the first and last of four rounds: 7/8 and 1/8 of the rate
    assert np.linalg.norm(moved[1]) / np.linalg.norm(moved[0]) == pytest.approx(1 / 7, rel=1e-3)


def test_gradient_is_clipped_to_the_norm(make_study, site, organs) -> None:
    optimizer = {"name": "sgd", "learning-rate": 1.0, "momentum": 0.0, "clip-norm": 0.01}
    study = make_study(optimizer=optimizer, training={"local-steps": 1})
    start = get_arrays(build_network(study))
    outcome = run(study, site, organs())
    step = np.concatenate([(outcome.arrays[k] - start[k]).ravel() for k in start])
    assert np.linalg.norm(step) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_not_a_number_ends_the_round(make_study, site, organs) -> None:
    data = organs()
    data.cases[0].image[0, 0, 0] = np.nan
    with pytest.raises(TrainingError, match=r"LOSS-NONFINITE"):
        run(make_study(), site, data)


def test_weights_that_are_not_numbers_are_never_sent(make_study, site, organs) -> None:
    study = make_study(optimizer={"name": "sgd", "learning-rate": 1e38, "weight-decay": 1e5}, training={"local-steps": 1})
    with pytest.raises(TrainingError, match=r"WEIGHTS-NONFINITE"):
        run(study, site, organs())


def test_received_model_that_does_not_fit_is_refused(make_study, site, organs) -> None:
    study = make_study()
    with pytest.raises(ExchangeError, match="MODEL-MISMATCH"):
        session.train(TrainTask(study, site, organs(), build_network(study), {}, 1, 1, NO_STATE))


def test_site_without_training_cases_is_an_error(make_study, site) -> None:
    with pytest.raises(TrainingError, match="TRAIN-NO-CASES"):
        run(make_study(), site, PreparedData("hospital-a", (), (), True))


def test_network_too_deep_for_the_images_says_so(make_study, site, organs) -> None:
    study = make_study(network={"name": "unet", "channels": "4,8,8,8,8"})
    with pytest.raises(TrainingError, match=r"NET-TOO-DEEP.*16x16"):
        run(study, site, organs())


@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_split_without_patients_gives_the_same_keys_and_zeros(make_study, site, organs, findings, kind) -> None:
    study, data = make_study(kind), organs() if kind == "segmentation" else findings
    net = build_network(study)
    nobody = session.evaluate(study, site, PreparedData("hospital-a", (), (), True), net, get_arrays(net), "validation")
    somebody = session.evaluate(study, site, data, net, get_arrays(net), "validation")
    assert set(nobody) == set(somebody) == set(metrics.empty_metrics(study))
    assert nobody[records.EVAL_PATIENTS] == 0
    assert all(not np.any(v) for v in nobody.values())


def test_evaluation_is_the_same_with_and_without_windows_of_the_image_size(make_study, site, organs) -> None:
    whole, windows = make_study(), make_study(training={"patch": "16,16"})
    net = build_network(whole)
    arrays = get_arrays(net)
    one = session.evaluate(whole, site, organs(), net, arrays, "validation")
    two = session.evaluate(windows, site, organs(), net, arrays, "validation")
    assert one == two


def test_the_sites_folder_holds_scores_by_pseudonym_and_examples_if_allowed(make_study, site, organs, tmp_path: Path) -> None:
    study = make_study()
    net = build_network(study)
    arrays = get_arrays(net)
    session.evaluate(study, site, organs(), net, arrays, "test", session.OwnResults(tmp_path / "a", previews=2))
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["cases.csv", "test.json"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a").iterdir()} == {0o600}
    details = json.loads((tmp_path / "a" / "test.json").read_text())
    assert set(details["patients"]) == {f"pat-{k:016d}" for k in (8, 9)}
    assert set(details["patients"]["pat-0000000000000008"]["classes"]["organ"]) == {
        "dice",
        "hd95",
        "surface-dice",
        "missed",
        "false-positive",
    }
    open_site = site.model_copy(update={"policy": Policy(previews=True)})
    session.evaluate(study, open_site, organs(), net, arrays, "test", session.OwnResults(tmp_path / "b", previews=2))
    assert sorted(p.name for p in (tmp_path / "b" / "previews").iterdir()) == ["preview-1.npz", "preview-2.npz"]
    table = read_case_table(tmp_path / "b" / "cases.csv")
    assert {p.stem for p in (tmp_path / "b" / "case-pictures").iterdir()} == {result.case for result in table.results}


def test_the_table_of_cases_agrees_with_the_scores_of_the_patients(make_study, site, organs, tmp_path: Path) -> None:
    study = make_study()
    net = build_network(study)
    session.evaluate(study, site, organs(), net, get_arrays(net), "test", session.OwnResults(tmp_path, previews=0))
    patients = json.loads((tmp_path / "test.json").read_text())["patients"]
    results = read_case_table(tmp_path / "cases.csv").results
    assert {result.patient for result in results} == set(patients)
    for result in results:  # one image a patient
        of_patient, organ = patients[result.patient]["classes"]["organ"], result.structures["organ"]
        assert organ.dice == pytest.approx(of_patient["dice"], abs=1e-6)
        assert (organ.flag == "missed") == of_patient["missed"]
        assert organ.true > 0


def test_the_sites_folder_of_a_classification_holds_probabilities(make_study, site, findings, tmp_path: Path) -> None:
    study = make_study("classification")
    net = build_network(study)
    session.evaluate(study, site, findings, net, get_arrays(net), "test", session.OwnResults(tmp_path, previews=2))
    details = json.loads((tmp_path / "test.json").read_text())["patients"]["pat-0000000000000016"]
    assert details[0]["truth"] == "no"
    assert sum(details[0]["probabilities"].values()) == pytest.approx(1.0)
    results = read_case_table(tmp_path / "cases.csv").results
    assert {result.truth for result in results} == {"no", "yes"}
    assert all(sum(result.probabilities.values()) == pytest.approx(1.0, abs=1e-5) for result in results)


def test_test_split_is_scored_on_the_grid_of_the_source(make_study, site) -> None:
    rng = np.random.default_rng(0)
    label = np.zeros((8, 8, 8), np.uint8)
    label[2:6, 2:6, 2:6] = 1
    image = (rng.standard_normal((1, 8, 8, 8)) * 0.1 + 4.0 * label - 2.0).astype(np.float32)
    fine = np.zeros((16, 16, 16), np.uint8)  # the same cube at 1 mm: prepared voxels of 2 mm, centres 0.5 mm off
    fine[4:12, 4:12, 4:12] = 1
    prepared_affine = np.diag([2.0, 2.0, 2.0, 1.0])
    prepared_affine[:3, 3] = 0.5
    reference = ReferenceMask(fine, np.eye(4), (1.0, 1.0, 1.0), prepared_affine)
    plain = PreparedCase(Case.without_files("case-1", "pat-1", "test"), image, label, (2.0, 2.0, 2.0), {}, reference)
    data = PreparedData(
        "hospital-a", (plain, replace(plain, case=Case.without_files("case-2", "pat-2", "validation"))), (), True
    )
    study = make_study(dimension=3)

    class Threshold(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cat([-images, images], 1) * 4

    scores = session.evaluate(study, site, data, Threshold(), {}, "test")
    assert scores["eval.dice.organ"] == pytest.approx(1.0, abs=0.05)
    assert scores["eval.surface-patients"] == 1
    assert scores["eval.hd95.organ"] == pytest.approx(0.0, abs=1.0)
    quick = session.evaluate(study, site, data, Threshold(), {}, "validation")
    assert quick["eval.dice.organ"] == 1.0
    assert quick["eval.surface-patients"] == 0
