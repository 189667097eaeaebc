"""Models as ONNX: what ONNX Runtime makes of a bundle's model is what the network gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from medfl.errors import RunError
from medfl.models.bundle import write_bundle
from medfl.testing.sites import make_study
from tests.models.small_models import FACTS, make_model

STUDY = make_study(dimension=3, training={"patch": "16,16,16"})


def test_a_model_as_onnx_gives_the_logits_of_its_network(tmp_path: Path) -> None:
    model = make_model(STUDY, trained=False)
    folder = write_bundle(model, FACTS, tmp_path / "bundle", onnx=True).path
    images = torch.rand((1, 1, 16, 16, 16), generator=torch.Generator().manual_seed(5))
    session = onnxruntime.InferenceSession(folder / "models/model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images.numpy()})
    with torch.inference_mode():
        assert np.allclose(logits, model.build()(images), atol=1e-4)
    assert "models/model.onnx" in (folder / "README.md").read_text()


def test_without_its_libraries_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(RunError, match=r"flwr-medfl\[onnx\]") as caught:
        write_bundle(make_model(STUDY, trained=False), FACTS, tmp_path / "bundle", onnx=True)
    assert caught.value.code == "EXPORT-EXTRA"
    assert not list(tmp_path.iterdir())
