"""Small parts of a report: axes, line charts, overlays and the formatting of numbers."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfl.errors import explain_code
from medfl.report import formatting
from medfl.report.charts import Line, line_chart, roc_chart, ticks
from medfl.report.histograms import histogram
from medfl.report.overlays import read_overlay
from medfl.study import Study


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.12, 0.83, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.5, 0.5, [0.5, 0.6]), (0, 0, [0, 0.2]), (88, 1210, [0, 500, 1000, 1500])],
)
def test_ticks_are_round_and_span_the_range(low: float, high: float, expected: list[float]) -> None:
    found = ticks(low, high, 5)
    assert found[0] <= low
    assert found[-1] >= high
    assert found == pytest.approx(expected)


def test_whole_ticks_never_fall_between_rounds() -> None:
    assert all(t == int(t) for t in ticks(0, 2, 6, whole=True))


def test_a_higher_value_is_drawn_higher_and_stays_inside() -> None:
    svg = line_chart("t", [Line("a", [(1, 0.2), (2, 0.9), (3, 1.0)], 0)], "Dice", top=1.0)
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', svg)]
    assert heights == sorted(heights, reverse=True)
    assert min(heights) >= 0
    assert max(heights) <= 290


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.99967, 1.0], [0.9997], [0.0, 0.0], [1e-9, 2e-9], [1 - 1e-16, 1.0]])
def test_constant_and_nearly_constant_scores_stay_inside_the_axis_and_below_its_top(values: list[float]) -> None:
    svg = line_chart("t", [Line("a", list(enumerate(values)), 0)], "Dice", top=1.0)
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', svg)]
    assert len(heights) == len(values)
    assert all(12 <= y <= 290 - 46 for y in heights)
    labels = [float(text) for text in re.findall(r'text-anchor="end">([^<]+)<', svg)]
    assert len(set(labels)) >= 2
    assert max(labels) <= 1.0


def test_values_of_any_size_can_be_drawn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        size = 10 ** rng.uniform(-250, 250)
        values = [float(value) for value in size * rng.choice([-1, 0, 1, 1 + 1e-15, 1 + 1e-4], rng.integers(1, 4))]
        assert "nan" not in line_chart("t", [Line("a", list(enumerate(values)), 0)], "Loss")
        assert "nan" not in histogram("t", values, "mm")


def test_a_missing_value_leaves_a_gap() -> None:
    svg = line_chart("t", [Line("a", [(0, 0.2), (1, 0.3), (2, math.nan), (3, 0.4), (4, math.inf)], 0)], "Dice")
    (path,) = re.findall(r' d="([^"]*)"', svg)
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert svg.count("<circle") == 3
    assert line_chart("t", [Line("a", [(0, math.nan)], 0)], "Dice") == ""


def test_a_single_round_and_no_round_can_be_drawn() -> None:
    assert "circle" in line_chart("t", [Line("a", [(1, 0.2)], 0)], "Dice")
    assert line_chart("t", [], "Dice") == ""


def test_names_in_charts_are_escaped() -> None:
    svg = line_chart("<t>", [Line("<a>", [(1, 0.2)], 0)], "<y>", "<x>") + roc_chart("<r>", [Line("<b>", [(0, 0), (1, 1)], 0)])
    assert not re.search(r"<[taybxr]>", svg)


def pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")).astype(int)


@pytest.mark.parametrize(("dimension", "corner"), [(2, (0, 0)), (3, (-1, -1))])
def test_the_first_voxel_is_where_a_reader_expects_it(tmp_path: Path, dimension: int, corner: tuple[int, int]) -> None:
    # 2-D: x to the right, y down. Volume in RAS: low x is the patient's left, so right on
    # the screen; low y is posterior, so below.
    image = np.zeros((8, 8), dtype=np.float32)
    image[0, 0] = 1
    np.savez(tmp_path / "p.npz", image=image, truth=np.zeros((8, 8), np.uint8), prediction=np.zeros((8, 8), np.uint8))
    overlay = read_overlay(tmp_path / "p.npz", dimension)
    assert overlay is not None
    assert math.isnan(overlay.dice)
    grey = pixels(overlay.image).sum(axis=2)
    assert grey[corner] == grey.max() > 600
    assert grey[0, -1] < 60


def test_truth_and_prediction_are_filled_where_they_are(tmp_path: Path) -> None:
    truth, found = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    truth[:3], found[5:] = 1, 1
    np.savez(tmp_path / "p.npz", image=np.zeros((8, 8), np.float32), truth=truth, prediction=found, dice=0.0)
    overlay = read_overlay(tmp_path / "p.npz", 2)
    assert overlay is not None
    assert overlay.dice == 0
    in_truth, in_found = pixels(overlay.truth), pixels(overlay.prediction)
    assert in_truth[128, 30, 0] > 100
    assert in_truth[128, 225].sum() < 30
    assert in_found[128, 225, 0] > 100
    assert in_found[128, 30].sum() < 30
    assert (in_found.min(axis=2) > 240).any(), "the truth is outlined in the picture of the prediction"


def test_words() -> None:
    assert formatting.format_score(math.nan) == "n/a"
    assert formatting.format_difference(-0.0001) == "±0.00"
    assert formatting.format_time("nonsense") == "unknown"
    assert formatting.format_reason("[NEW-CODE] Something else.") == ("NEW-CODE", "Something else.")
    assert formatting.format_reason("") == ("", "No reason was given.")
    assert explain_code("DCM-NEW") == "A problem of the DICOM files."


@pytest.mark.parametrize(("dimension", "unit"), [(2, "px"), (3, "mm")])
def test_distances_of_flat_images_are_pixels(dimension: int, unit: str) -> None:
    task = {"kind": "segmentation", "dimension": dimension, "modality": "XR", "classes": "background,lung"}
    settings = {"name": "study", "rounds": 1, "task": task, "network": {"name": "unet"}, "loss": {"name": "dice-ce"}}
    assert formatting.length_unit(Study.model_validate(settings)) == unit
