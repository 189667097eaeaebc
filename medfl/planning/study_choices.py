"""Choices of a new study: what suits the data, as the sample studies show it to work; `image_choices` has the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medfl.planning.plan import Plan
from medfl.study.study_file import Scalar
from medfl.study.task import Task

_UNEVEN = 1.5  # times as many cases of the most frequent class as of the rarest
_SMALL_SITE = 100  # patients of a hospital, below which validation takes a larger share of them
_MAX_STEPS = 100  # optimizer steps of a hospital in a round, above which passes over all images take too long


@dataclass(frozen=True)
class Choice:
    """Choice of one key of a study.

    Parameters
    ----------
    key : str
        Dotted, as ``"training.batch-size"``.
    value : scalar
        The value as a study holds it.
    why : str
        Why it was chosen, where that is not plain.
    is_doubtful : bool
        Whether the data does not say it, so that a person must look.
    """

    key: str
    value: Scalar
    why: str = ""
    is_doubtful: bool = False


@dataclass(frozen=True)
class DataSummary:
    """Summary of the data that a study is made for.

    Parameters
    ----------
    task : Task
        The task.
    shape : tuple of int
        Median size along each axis, voxels.
    spacing : tuple of float
        Median voxel size, mm; empty where images have none.
    class_cases : tuple of int
        Classification: cases of each class, in their order; else empty.
    patients_a_site, cases_a_site : int
        Mean over the hospitals.
    names_sides : bool
        Whether classes are called left and right.
    has_gpu : bool
        Whether this machine has a GPU.
    plan : Plan, optional
        Volumes to be segmented: the plan by nnU-Net's rules; None where none could be made.
    """

    task: Task
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    class_cases: tuple[int, ...]
    patients_a_site: int
    cases_a_site: int
    names_sides: bool
    has_gpu: bool
    plan: Plan | None = None

    @property
    def is_segmentation(self) -> bool:
        """Whether images are segmented."""
        return self.task.kind == "segmentation"

    @property
    def is_flat(self) -> bool:
        """Whether images are 2-D."""
        return self.task.dimension == 2


def choose_training(data: DataSummary, batch: int) -> Iterator[Choice]:
    """Yield how a study trains, whatever its network is: rounds, splits, loss, optimizer, augmentation, evaluation, strategy.

    Parameters
    ----------
    data : DataSummary
        The data.
    batch : int
        Images or patches of a step.
    """
    yield Choice("seed", 1)
    yield Choice("rounds", 40 if data.is_segmentation and not data.is_flat else 36 if data.is_segmentation else 24)
    yield Choice("arms", "federated", 'With "federated,local" each hospital also trains alone, to see whether it was worth it.')
    yield from _choose_splits(data)
    yield from _choose_loss(data)
    yield Choice("optimizer.name", "adamw")
    yield Choice("optimizer.learning-rate", 2e-3)
    yield Choice("optimizer.weight-decay", 1e-2 if not data.is_segmentation else 1e-4 if data.is_flat else 1e-5)
    yield Choice("schedule.name", "cosine")
    yield Choice("schedule.warmup-rounds", 1)
    yield from _choose_work(data, batch)
    yield from _choose_augmentation(data)
    if data.is_segmentation:
        yield Choice("evaluation.every", 2 if data.is_flat else 4)
    yield Choice("strategy.name", "fedavg")
    yield Choice("strategy.weights", "patients")


def _choose_splits(data: DataSummary) -> Iterator[Choice]:
    small = data.patients_a_site < _SMALL_SITE
    why = "A hospital has few patients: with a smaller share, chance would choose the best round." if small else ""
    yield Choice("splits.validation", 0.15 if small else 0.1, why)
    yield Choice("splits.test", 0.2)


def _choose_loss(data: DataSummary) -> Iterator[Choice]:
    yield Choice("loss.name", "dice-ce" if data.is_segmentation else "cross-entropy")
    counts = [count for count in data.class_cases if count]
    if counts and max(counts) >= _UNEVEN * min(counts):
        ratio = max(counts) / min(counts)
        yield Choice(
            "loss.class-weights", "balanced", f"The most frequent class has {ratio:.1f} times the cases of the rarest."
        )


def _choose_work(data: DataSummary, batch: int) -> Iterator[Choice]:
    steps = 2 * data.cases_a_site / batch
    if steps > _MAX_STEPS:
        why = f"A pass over all images of a hospital would take about {steps / 2:.0f} steps."
        yield Choice("training.local-steps", _MAX_STEPS, why)
    else:
        yield Choice("training.local-epochs", 2)
    yield Choice("training.batch-size", batch)


def _choose_augmentation(data: DataSummary) -> Iterator[Choice]:
    modality = data.task.modality
    if data.names_sides:
        why = "No image is mirrored: a class is named left or right."
    elif not data.is_flat:
        why = "No volume is mirrored: organs are not where their mirror images are."
    else:
        why = 'Images are mirrored left to right; write "" where the side matters.'
    yield Choice("augmentation.flip", "0" if data.is_flat and not data.names_sides else "", why)
    yield Choice("augmentation.rotate", 15 if data.is_segmentation else 10)
    yield Choice("augmentation.scale", 0.15 if data.is_segmentation else 0.1)
    if data.is_flat:
        yield Choice("augmentation.shift", 0.05)
    if modality == "CT":
        yield Choice("augmentation.noise", 0.1, "Values of a CT mean the same everywhere: contrast is left as it is.")
        return
    if modality == "XR":
        yield Choice("augmentation.noise", 0.1)
    yield Choice("augmentation.intensity", 0.2 if modality == "XR" else 0.1)
    if modality in ("XR", "MR"):
        yield Choice("augmentation.gamma", 0.2)
