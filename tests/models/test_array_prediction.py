"""A model that is called with an image answers on its axes, and refuses what would let them be mixed up."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medfl.errors import DataError
from medfl.models.array_prediction import Predictor
from medfl.testing.sites import make_study
from tests.models.small_models import make_model, organ_image

VOLUMES = Predictor(make_model(make_study(dimension=3, training={"patch": "16,16,16"})))
PICTURES = Predictor(make_model(make_study(preprocessing={"size": "32,32"})))
VOLUME = organ_image((16, 17, 18), np.random.default_rng(1))
PICTURE = organ_image((30, 40), np.random.default_rng(2)).clip(0, 255).astype(np.uint8)


def mask_of(model: Predictor, *given: Any) -> NDArray[np.uint8]:
    mask = model(*given)
    assert isinstance(mask, np.ndarray)
    return mask


def test_a_mask_lies_on_the_axes_of_the_array_whatever_these_are() -> None:
    mask = mask_of(VOLUMES, VOLUME, np.eye(4))
    assert mask.any()
    # the same volume as a file may hold it: slices first, and from the front to the back
    turned = VOLUME.transpose(2, 0, 1)[:, :, ::-1]
    affine = np.array([[0, 1, 0, 0], [0, 0, -1, 16], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    assert np.array_equal(mask_of(VOLUMES, turned, affine), mask.transpose(2, 0, 1)[:, :, ::-1])
    assert np.array_equal(mask_of(VOLUMES, nibabel.Nifti1Image(VOLUME, np.eye(4))), mask)


def test_a_picture_is_rows_and_columns_and_so_is_its_mask() -> None:
    mask = mask_of(PICTURES, PICTURE)
    assert mask.shape == PICTURE.shape
    inside = mask.astype(bool)
    assert PICTURE[inside].mean() > PICTURE[~inside].mean() + 40
    assert np.array_equal(mask_of(PICTURES, np.stack([PICTURE] * 3, axis=-1)), mask)


def test_a_classification_names_its_classes() -> None:
    model = Predictor(make_model(make_study("classification"), trained=False))
    found = model(PICTURE)
    assert isinstance(found, dict)
    assert list(found) == ["no", "yes"]
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("model", "given", "word"),
    [
        (VOLUMES, (VOLUME,), "where its axes point"),
        (VOLUMES, (VOLUME[0], np.eye(4)), "shape"),
        (VOLUMES, (np.stack([VOLUME] * 2, axis=-1), np.eye(4)), "shape"),
        (VOLUMES, (VOLUME, np.zeros((4, 4))), "no usable matrix"),
        (PICTURES, (PICTURE, np.eye(4)), "no affine"),
        (PICTURES, (np.stack([PICTURE] * 3, axis=-1).astype(np.uint16),), "8 bits"),
        (PICTURES, (VOLUME,), "shape"),
    ],
)
def test_what_does_not_fit_the_study_is_refused(model: Predictor, given: tuple[Any, ...], word: str) -> None:
    with pytest.raises(DataError, match=word) as caught:
        model(*given)
    assert caught.value.code == "PRED-ARRAY"


def test_an_image_that_training_refuses_is_refused() -> None:
    with pytest.raises(DataError, match="IMG-NAN"):
        VOLUMES(np.full((16, 16, 16), np.nan), np.eye(4))
