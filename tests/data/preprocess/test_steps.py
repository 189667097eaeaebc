"""Preprocessing as a whole: what a study may choose, types, and the same bits on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medfl.data.preprocess.steps import preprocess
from medfl.data.volume import Volume
from tests.data.preprocess.studies import make_study, study_of_modality


def test_float16_never_overflows() -> None:
    values = np.zeros((1, 100, 1), np.float32)
    values[0, -1] = 1e30
    values[0, 10:50] = 1.0
    result, _ = preprocess(Volume(values), None, make_study(2, intensity="percentile", dtype="float16"))
    assert result.array.dtype == np.float16
    assert np.isfinite(result.array).all()


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    values = np.random.default_rng(0).normal(size=(1, 64, 64, 40)).astype(np.float32)
    study = make_study(spacing="1.3,1.3,1.3")
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(preprocess(Volume(values, np.eye(4)), None, study)[0].array)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_the_source_is_not_changed() -> None:
    values = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3)
    values.flags.writeable = False
    preprocess(Volume(values, np.diag([-1.0, 1, 1, 1])), None, make_study(intensity="unit"))
    assert values.ravel()[26] == 26


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": "lungs", "intensity": "window"}, "abdomen, bone, brain, lung, mediastinum"),
        ({"window": "1", "intensity": "standardize", "std": 1.0}, "'standardize' needs 'window'"),
        ({"window": "0,1", "intensity": "standardize"}, "needs 'mean' and 'std'"),
    ],
)
def test_an_incomplete_choice_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_study(2, **changes)


@pytest.mark.parametrize(
    ("modality", "choice"),
    [
        ("CT", {"bias_correction": "n4"}),
        ("XR", {"bias_correction": "n4"}),
        ("MR", {"contrast": "equalize"}),
        ("MR", {"crop": "body"}),
    ],
)
def test_a_choice_for_another_modality_is_refused(modality: str, choice: dict[str, str]) -> None:
    (key,) = choice
    with pytest.raises(ValueError, match=f"preprocessing.{key.replace('_', '-')}: this choice is for"):
        study_of_modality(modality, **choice)
