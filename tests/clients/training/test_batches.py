from __future__ import annotations

import collections

import numpy as np
import pytest

from medfl.clients.training.batches import count_steps, iter_batches, padded_shape, read_window
from medfl.data.cases import Case
from medfl.data.store.prepared_data import PreparedCase
from medfl.errors import TrainingError


def ramp(k: int, shape: tuple[int, ...], *, organ: tuple[int, ...] = ()) -> PreparedCase:
    """Make an image of 1 + voxel numbers; every voxel is known by its value."""
    image = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(1, *shape) + 1000 * k
    label = np.zeros(shape, np.uint8)
    if organ:
        label[organ] = 1
    return PreparedCase(
        Case.without_files(f"case-{k}", f"pat-{k}", "train"), image, label, (1.0,) * len(shape), {1: np.argwhere(label)}
    )


def labelled(k: int, label: int) -> PreparedCase:
    return PreparedCase(
        Case.without_files(f"case-{k}", f"pat-{k}", "train"), np.full((1, 16, 16), k, np.float32), label, (1.0, 1.0)
    )


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_epoch_shows_every_image_once_and_the_last_batch_may_be_smaller(make_study) -> None:
    study = make_study(training={"batch-size": 2, "local-epochs": 2})
    got = list(iter_batches(study, [ramp(k, (4, 4)) for k in range(5)], rng()))
    assert [len(b.images) for b in got] == [2, 2, 1, 2, 2, 1]
    assert len(got) == count_steps(study, 5)
    first = [int(v) // 1000 for b in got[:3] for v in b.images[:, 0, 0, 0]]
    assert sorted(first) == [0, 1, 2, 3, 4]


def test_steps_replace_epochs_and_all_batches_are_full(make_study) -> None:
    study = make_study(training={"batch-size": 2, "local-steps": 4})
    got = list(iter_batches(study, [ramp(k, (4, 4)) for k in range(3)], rng()))
    assert [len(b.images) for b in got] == [2, 2, 2, 2]
    assert count_steps(study, 3) == 4


def test_same_seed_gives_the_same_batches_and_another_does_not(make_study) -> None:
    study = make_study(training={"patch": "4,4", "batch-size": 1, "local-epochs": 3})
    cases = [ramp(k, (9, 9)) for k in range(4)]
    one, two, other = (
        [b.images.numpy() for b in iter_batches(study, cases, np.random.default_rng(seed))] for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_patch_and_mask_come_from_the_same_place(make_study) -> None:
    study = make_study(dimension=3, training={"patch": "4,4,4", "patches-per-image": 5, "batch-size": 1, "foreground": 0.0})
    case = ramp(0, (8, 6, 7))
    case = PreparedCase(
        Case.without_files("c", "p", "train"),
        case.image,
        (case.image[0] % 2).astype(np.uint8),
        case.spacing,
        {1: np.zeros((0, 3))},
    )
    got = list(iter_batches(study, [case], rng()))
    assert len(got) == 5
    for batch in got:
        assert batch.images.shape == (1, 1, 4, 4, 4)
        assert np.array_equal(batch.images[0, 0].numpy() % 2, batch.labels[0].numpy())


def test_every_patch_holds_the_organ_when_all_are_to_be_centred_on_it(make_study) -> None:
    study = make_study(training={"patch": "4,4", "patches-per-image": 20, "batch-size": 4, "foreground": 1.0})
    got = list(iter_batches(study, [ramp(0, (40, 40), organ=(0, 39))], rng()))
    assert all(bool(b.labels.flatten(1).any(1).all()) for b in got)


def test_image_without_foreground_gives_patches_from_anywhere(make_study) -> None:
    study = make_study(training={"patch": "4,4", "patches-per-image": 30, "foreground": 1.0})
    starts = {float(b.images[0, 0, 0, 0]) for b in iter_batches(study, [ramp(0, (20, 20))], rng())}
    assert len(starts) > 5


def test_image_smaller_than_the_patch_lies_in_the_middle_of_zeros(make_study) -> None:
    study = make_study(training={"patch": "6,4", "batch-size": 1})
    (batch,) = iter_batches(study, [ramp(0, (2, 4), organ=(0, 0))], rng())
    assert batch.images[0, 0, :, 0].tolist() == [0, 0, 1, 5, 0, 0]
    assert batch.labels[0, :, 0].tolist() == [0, 0, 1, 0, 0, 0]


def test_whole_image_is_padded_to_what_the_network_can_halve(make_study) -> None:
    study = make_study()  # two levels: even sides
    assert padded_shape(study, (5, 6)) == (6, 6)
    (batch,) = iter_batches(study, [ramp(0, (5, 6))], rng())
    assert batch.images.shape == (1, 1, 6, 6)


def test_images_of_several_sizes_in_one_batch_are_an_error_that_tells_the_way_out(make_study) -> None:
    with pytest.raises(TrainingError, match=r"TRAIN-SHAPES.*training\.patch"):
        list(iter_batches(make_study(), [ramp(0, (4, 4)), ramp(1, (8, 4))], rng()))


def test_site_without_training_cases_is_an_error(make_study) -> None:
    with pytest.raises(TrainingError, match="TRAIN-NO-CASES"):
        next(iter_batches(make_study(), [], rng()))


def test_balanced_sampling_shows_a_rare_class_as_often_as_a_common_one(make_study) -> None:
    study = make_study("classification", training={"balanced-sampling": True, "local-steps": 100, "batch-size": 10})
    cases = [labelled(k, int(k == 0)) for k in range(20)]
    counts = collections.Counter(int(v) for b in iter_batches(study, cases, rng()) for v in b.labels)
    assert counts[1] / 1000 == pytest.approx(0.5, abs=0.06)


def test_only_the_window_is_read() -> None:
    class Spy:
        shape = (1, 1000, 1000)
        index: tuple[object, ...] = ()

        def __getitem__(self, index: tuple[object, ...]) -> np.ndarray:
            self.index = index
            return np.ones((1, 4, 4), np.float16)

    spy, out = Spy(), np.zeros((1, 4, 4), np.float32)
    read_window(spy, out, [10, 20])  # type: ignore[arg-type]
    assert spy.index == (..., slice(10, 14), slice(20, 24))
    assert out.sum() == 16
