"""Files of weights: read as they are found in the wild, and never run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import torch as safetensors
from torch import nn

from medfl.clients.start.weights_file import read_weights
from medfl.errors import MedflError

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


class Malicious:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._mark),)


def refusal(path: Path) -> str:
    with pytest.raises(MedflError) as caught:
        read_weights(path)
    assert caught.value.code == "START-FILE"
    return str(caught.value)


@pytest.mark.parametrize(
    "content", [STATE, {"state_dict": STATE, "epoch": 3}, {"optimizer": {"state": {}}, "network_weights": STATE}]
)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_state_dict_is_found_in_a_checkpoint(content: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / f"model{suffix}")
    found = read_weights(tmp_path / f"model{suffix}").tensors
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


def test_safetensors_of_others_are_read(tmp_path: Path) -> None:
    safetensors.save_file(STATE, tmp_path / "model.safetensors")
    found = read_weights(tmp_path / "model.safetensors")
    assert torch.equal(found.tensors["conv.weight"], STATE["conv.weight"])
    assert found.study is None


@pytest.mark.parametrize("is_old", [True, False])
def test_code_in_a_file_is_refused_and_not_run(is_old: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "model.pt", tmp_path / "run"
    if is_old:
        path.write_bytes(pickle.dumps({"state_dict": Malicious(mark)}))
    else:
        torch.save({"state_dict": Malicious(mark)}, path)
    assert "could run what is in it" in refusal(path)
    assert not mark.exists()


def test_a_whole_network_is_no_state_dict(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(1, 2, 3), tmp_path / "model.pt")
    assert "could run what is in it" in refusal(tmp_path / "model.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_truncated_file_is_damaged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(STATE, path)
    else:
        safetensors.save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-40])
    assert "it is damaged or not whole. Copy or download it again." in refusal(path)


def test_a_file_without_tensors_holds_no_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "model.pt")
    assert "it holds no state dict" in refusal(tmp_path / "model.pt")


def test_a_wrapper_that_holds_itself_holds_no_state_dict(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    torch.save(content, tmp_path / "model.pt")
    assert "it holds no state dict" in refusal(tmp_path / "model.pt")
