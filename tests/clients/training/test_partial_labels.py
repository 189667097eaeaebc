"""Partial annotations: structures that are not annotated are neither trained nor scored."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medfl import metrics
from medfl.clients import session
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.clients.tasks import segmentation_task
from medfl.clients.tasks.inference import build_predictor
from medfl.clients.training.batches import iter_batches
from medfl.clients.training.devices import choose_device
from medfl.clients.training.losses import build_loss
from medfl.clients.training.partial_labels import MarginalLoss, merge_labels, merge_logits
from medfl.clients.training.task import TrainTask
from medfl.data.cases import Case, Split
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.privacy.suppression import suppress
from tests.clients.conftest import NO_STATE

LOSSES = ["dice-ce", "dice-focal", "generalized-dice"]
TWO = {"classes": "background,left,right"}


def logs(*probabilities: float) -> Tensor:
    """Return logits (1, C, 1) of one voxel."""
    return torch.log(torch.tensor(probabilities)).reshape(1, -1, 1)


def entropy(classes: list[int]) -> torch.nn.CrossEntropyLoss:
    return torch.nn.CrossEntropyLoss()


def random_batch(count: int = 4, classes: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(count, classes, 6, 6), torch.randint(0, classes, (count, 6, 6), dtype=torch.uint8)


def two_organs(k: int, split: Split = "train", annotated: tuple[int, ...] = (), *, declared: bool = True) -> PreparedCase:
    """Make an image with a bright square on the left and a brighter one on the right, of which a site marks some."""
    rng = np.random.default_rng(k)
    label = np.zeros((16, 16), np.uint8)
    for value, first in ((1, 1), (2, 9)):
        row, column = rng.integers(1, 9), first + rng.integers(0, 2)
        label[row : row + 6, column : column + 5] = value
    image = (rng.standard_normal((1, 16, 16)) * 0.2 + 1.5 * label).astype(np.float32)
    marked = np.where(np.isin(label, annotated), label, 0).astype(np.uint8) if annotated else label
    case = Case.without_files(f"case-{k}", f"pat-{k:016d}", split)
    return PreparedCase(case, image, marked, (1.0, 1.0), {}, annotated=annotated if declared else ())


def test_the_background_of_a_partly_annotated_image_is_all_that_is_not_annotated() -> None:
    loss = MarginalLoss(entropy, 4)
    voxel, background, marked = logs(0.1, 0.2, 0.3, 0.4), torch.tensor([[0]]), torch.tensor([[2]])
    assert float(loss(voxel, background, [(2,)])) == pytest.approx(-math.log(0.7))
    assert float(loss(voxel, marked, [(2,)])) == pytest.approx(-math.log(0.3))
    assert float(loss(voxel, background, [(1, 3)])) == pytest.approx(-math.log(0.4))
    assert float(loss(voxel, torch.tensor([[3]]), [(1, 3)])) == pytest.approx(-math.log(0.4))
    assert float(loss(voxel, background)) == pytest.approx(-math.log(0.1))


def test_merged_probabilities_are_sums_even_where_logits_are_large() -> None:
    logits = torch.tensor([[900.0, 901.0, 899.0, -900.0]]).reshape(1, 4, 1)
    whole, merged = torch.softmax(logits, 1), torch.softmax(merge_logits(logits, (1,)), 1)
    assert torch.allclose(merged[:, 0], whole[:, [0, 2, 3]].sum(1), atol=1e-4)
    assert torch.allclose(merged[:, 1], whole[:, 1], atol=1e-4)
    assert merge_labels(torch.tensor([0, 1, 2, 3]), (1, 3)).tolist() == [0, 1, 0, 2]


def test_what_was_not_looked_for_is_not_pushed_away() -> None:
    logits = torch.zeros(1, 3, 1, requires_grad=True)
    MarginalLoss(entropy, 3)(logits, torch.tensor([[0]]), [(1,)]).backward()
    background, known, unknown = logits.grad.flatten().tolist()
    assert background == pytest.approx(unknown)
    assert known == pytest.approx(1 / 3)
    assert unknown < 0  # it shares in what is sure: the voxel is not the known one


@pytest.mark.parametrize(("name", "weighted"), [*((name, False) for name in LOSSES), ("dice-ce", True), ("dice-focal", True)])
def test_any_loss_is_that_of_the_smaller_study(make_study, name: str, *, weighted: bool) -> None:
    weights = torch.tensor([1.0, 2.0, 4.0]) if weighted else None
    logits, labels = random_batch()
    loss_value = build_loss(make_study(task=TWO, loss={"name": name}), weights)(logits, labels, [(2,)] * 4)
    smaller = build_loss(make_study(loss={"name": name}), weights[[0, 2]] if weights is not None else None)
    background = torch.logaddexp(logits[:, 0], logits[:, 1])
    expected = smaller(torch.stack([background, logits[:, 2]], 1), (labels == 2).to(torch.uint8))
    assert float(loss_value) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_different_sets_is_averaged_by_images(make_study, name: str) -> None:
    loss, (logits, labels) = build_loss(make_study(task=TWO, loss={"name": name})), random_batch()
    loss_value = loss(logits, labels, [(1,), (), (1,), (2,)])
    first, second = loss(logits[[0, 2]], labels[[0, 2]], [(1,)] * 2), loss(logits[[1]], labels[[1]])
    third = loss(logits[[3]], labels[[3]], [(2,)])
    assert float(loss_value) == pytest.approx(float(0.5 * first + 0.25 * second + 0.25 * third), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_where_everything_was_looked_for_nothing_changes_by_a_bit(make_study, name: str) -> None:
    loss, (logits, labels) = build_loss(make_study(task=TWO, loss={"name": name})), random_batch()
    assert torch.equal(loss(logits, labels), loss(logits, labels, [()] * 4))


def test_batches_hold_the_annotated_classes(make_study) -> None:
    cases = [two_organs(0), two_organs(1, annotated=(1,)), two_organs(2, annotated=(2,))]
    study = make_study(task=TWO, training={"batch-size": 2})
    found = [looked for batch in iter_batches(study, cases, np.random.default_rng(0)) for looked in batch.annotated]
    assert sorted(found) == [(), (1,), (2,)]


def trained_dice(make_study, site, *, declared: bool) -> dict[str, float]:
    """Train on patients of whom half show the left and half the right organ, and score on masks of both."""
    study = make_study(
        task=TWO, optimizer={"learning-rate": 0.02}, training={"local-epochs": 25, "batch-size": 6}, augmentation={"flip": ""}
    )
    cases = [two_organs(k, annotated=((1,), (2,))[k % 2], declared=declared) for k in range(12)]
    data = PreparedData("here", (*cases, *(two_organs(k, "test") for k in range(50, 56))), (), True)
    net = build_network(study)
    outcome = session.train(TrainTask(study, site, data, net, get_arrays(net), 1, 7, NO_STATE))
    return metrics.derive(study, session.evaluate(study, site, data, net, outcome.arrays, "test"))


def test_one_model_learns_both_from_patients_that_show_one_each(make_study, site) -> None:
    together = trained_dice(make_study, site, declared=True)
    assert together["dice.left"] > 0.85
    assert together["dice.right"] > 0.85
    assert trained_dice(make_study, site, declared=False)["dice"] < together["dice"] - 0.1


class Constant(torch.nn.Module):
    """Answers the same class everywhere, whatever comes."""

    def __init__(self, value: int, classes: int) -> None:
        super().__init__()
        self._logits = torch.nn.functional.one_hot(torch.tensor(value), classes).float() * 9

    def forward(self, images: Tensor) -> Tensor:
        return self._logits.reshape(1, -1, 1, 1).expand(len(images), -1, *images.shape[2:])


def test_a_site_judges_only_what_it_annotated(make_study, site) -> None:
    study = make_study(task=TWO, evaluation={"surface": "always"})
    cases = [two_organs(0, "test", (1,)), two_organs(1, "test", (1,)), two_organs(2, "test")]
    loss, predictor = build_loss(study), build_predictor(study, Constant(2, 3), choose_device(study, site))
    scored = segmentation_task.score_cases(study, cases, predictor, loss, "test", keep_previews=True)
    scores = scored.metrics
    assert set(scores) == set(metrics.empty_metrics(study))
    assert scores["eval.patients"] == 3
    assert scores["eval.patients.left"] == 3
    # in the others the right one is unknown, and a prediction is not a false positive
    assert scores["eval.patients.right"] == 1
    assert scores["eval.false-positive.right"] == 0
    assert scores["eval.missed.left"] == 3
    assert set(scored.patients["pat-0000000000000000"]["classes"]) == {"left"}
    assert set(scored.patients["pat-0000000000000002"]["classes"]) == {"left", "right"}
    assert len(scored.previews) == 3
    nobody = segmentation_task.score_cases(study, cases[:2], predictor, loss, "test").metrics
    assert nobody["eval.patients.right"] == 0
    assert nobody["eval.surface-dice.right"] == 0.0
    assert suppress(nobody, 2) == {key: round(v, 3) if isinstance(v, float) else v for key, v in nobody.items()}


def test_the_loss_of_a_validation_is_the_marginal_one(make_study, site) -> None:
    study = make_study(task=TWO)
    sure = build_predictor(study, Constant(2, 3), choose_device(study, site))
    known, unknown = (
        segmentation_task.score_cases(study, [case], sure, build_loss(study), "validation").metrics["eval.loss"]
        for case in (two_organs(0, annotated=(1,), declared=False), two_organs(0, annotated=(1,)))
    )
    assert unknown < known - 2  # to predict what nobody annotated is not a mistake


def test_several_images_of_a_patient_may_show_different_structures(make_study, site, tmp_path: Path) -> None:
    study = make_study(task=TWO)
    cases = [replace(two_organs(k, "test", (k + 1,)), case=Case.without_files(f"case-{k}", "pat-1", "test")) for k in range(2)]
    data, net = PreparedData("here", tuple(cases), (), True), build_network(study)
    scores = session.evaluate(study, site, data, net, get_arrays(net), "test", session.OwnResults(tmp_path, previews=2))
    assert (scores["eval.patients"], scores["eval.patients.left"], scores["eval.patients.right"]) == (1, 1, 1)


def test_sites_that_know_different_structures_add_up(make_study) -> None:
    def of(name: str, dice: float, patients: int) -> metrics.CaseScore:
        score = metrics.CaseScore(dice, math.nan, math.nan, missed=False, false_positive=False, present=True)
        return metrics.segmentation_metrics([(f"p{k}", {name: score}) for k in range(patients)], ["left", "right"], 0.1)

    study = make_study(task=TWO)
    merged = metrics.merge(study, [of("left", 0.9, 30), of("right", 0.5, 2), of("left", 0.6, 10)])
    derived = metrics.derive(study, merged)
    assert derived["dice.left"] == pytest.approx(0.825)
    assert derived["dice.right"] == pytest.approx(0.5)
    assert metrics.headline(study, merged) == pytest.approx((0.825 + 0.5) / 2)  # each structure counts once
    assert merged["eval.patients"] == 42
