"""What stops a prediction, and what leaves out one image alone."""

from __future__ import annotations

import pytest
import torch

from medfl.errors import DataError
from medfl.models.failures import concerns_all

STICKY = "CUDA error: an illegal memory access was encountered"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(STICKY),
        RuntimeError("HIP error: unspecified launch failure"),
        torch.OutOfMemoryError("CUDA out of memory."),
        DataError("STORE-UNWRITABLE", "", ""),
    ],
)
def test_an_error_that_would_come_again_concerns_all(error: Exception) -> None:
    assert concerns_all(error)


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="torch below 2.8 has no such error")
def test_an_error_of_the_accelerator_concerns_all_whatever_it_says() -> None:
    assert concerns_all(torch.AcceleratorError("unspecified launch failure"))


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError(STICKY), DataError("IMG-READ", "", "")])
def test_an_error_of_one_image_does_not(error: Exception) -> None:
    assert not concerns_all(error)
