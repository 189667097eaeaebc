from __future__ import annotations

import stat
from pathlib import Path

import numpy as np

from medfl.clients.tasks.example_slices import (
    Preview,
    WorstSlices,
    best_slice,
    choose_previews,
    image_slice,
    worst_slice,
    write_pictures,
    write_previews,
)


def preview(dice: float) -> Preview:
    blank = np.zeros((2, 2), np.uint8)
    return Preview(blank.astype(np.float32), blank, blank, dice)


def test_three_examples_are_best_median_and_worst() -> None:
    chosen = choose_previews([preview(d) for d in (0.2, 0.9, 0.5, 0.7, 0.1)], 3)
    assert [p.dice for p in chosen] == [0.9, 0.5, 0.1]
    assert [p.dice for p in choose_previews([preview(0.3)], 3)] == [0.3]
    assert choose_previews([preview(0.3)], 0) == []
    assert choose_previews([], 3) == []


def test_slice_is_the_one_with_most_foreground_scaled_to_one() -> None:
    image = np.random.default_rng(0).standard_normal((6, 5, 4)) * 100
    truth = np.zeros((6, 5, 4), np.uint8)
    truth[2, 2, 1] = 1
    truth[2:4, 2:4, 3] = 1
    found = best_slice(image, truth, np.zeros_like(truth), 0.0)
    assert np.array_equal(found.truth, truth[..., 3])
    assert found.image.shape == (6, 5)
    assert found.image.min() == 0.0
    assert found.image.max() == 1.0


def test_slice_of_a_failure_is_the_one_with_most_wrong_voxels() -> None:
    image = np.random.default_rng(0).standard_normal((6, 5, 4))
    truth, prediction = np.zeros((6, 5, 4), np.uint8), np.zeros((6, 5, 4), np.uint8)
    truth[:, :, 1] = prediction[:, :, 1] = 1  # the most foreground, and all of it right
    truth[2, 2, 3] = 2  # missed
    assert np.array_equal(worst_slice(image, truth, prediction, 0.5).truth, truth[..., 3])
    assert np.array_equal(worst_slice(image, truth, truth, 1.0).truth, truth[..., 1])
    assert image_slice(image, 0.1).image.shape == (6, 5)


def test_only_the_worst_cases_are_drawn_and_kept() -> None:
    drawn: list[str] = []

    def draw(case: str) -> Preview:
        drawn.append(case)
        return preview(0.0)

    worst = WorstSlices(2)
    for case, score in (("a", 0.5), ("b", 0.9), ("c", 0.95), ("d", 0.1), ("e", 0.5)):
        worst.offer(case, score, lambda case=case: draw(case))  # type: ignore[misc]
    assert set(worst.by_case()) == {"d", "e"}
    assert "c" not in drawn
    nothing = WorstSlices(0)
    nothing.offer("a", 0.0, lambda: draw("never"))
    assert nothing.by_case() == {}
    assert "never" not in drawn


def test_pictures_are_private_and_those_of_an_earlier_test_go(tmp_path: Path) -> None:
    write_pictures({"case-A": preview(0.3), "case-B": preview(0.2)}, tmp_path)
    write_pictures({"case-B": preview(0.5)}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["case-B.npz"]
    assert stat.S_IMODE((tmp_path / "case-B.npz").stat().st_mode) == 0o600


def test_files_hold_no_name_and_those_of_an_earlier_test_go(tmp_path: Path) -> None:
    write_previews([preview(0.3), preview(0.2)], tmp_path)
    write_previews([preview(0.5)], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["preview-1.npz"]
    assert stat.S_IMODE((tmp_path / "preview-1.npz").stat().st_mode) == 0o600
    with np.load(tmp_path / "preview-1.npz", allow_pickle=False) as stored:
        assert set(stored) == {"image", "truth", "prediction", "dice"}
        assert float(stored["dice"]) == 0.5
