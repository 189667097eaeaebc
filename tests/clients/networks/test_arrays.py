from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medfl.clients.networks.arrays import get_arrays, load_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.errors import ExchangeError


class Twins(nn.Module):
    """One layer under two names, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 1)
        self.again = self.first
        self.register_buffer("count", torch.tensor(3))


def test_each_tensor_is_sent_once_in_order_of_first_occurrence() -> None:
    arrays = get_arrays(Twins())
    assert list(arrays) == ["count", "first.weight", "first.bias"]
    assert arrays["count"].dtype == np.int64


def test_dynunet_sends_47_tensors_for_92_keys(make_study) -> None:
    study = make_study(dimension=3, network={"name": "dynunet", "filters": "8,8,16,16"})
    net = build_network(study)
    assert len(net.state_dict()) == 92
    assert len(get_arrays(net)) == 47


def test_loaded_arrays_reach_both_names_and_come_back_the_same() -> None:
    net = Twins()
    arrays = {name: np.full_like(a, 7) for name, a in get_arrays(net).items()}
    arrays["first.weight"].flags.writeable = False
    load_arrays(net, arrays)
    assert net.again.weight.tolist() == [[7.0, 7.0]]
    back = get_arrays(net)
    assert all(np.array_equal(arrays[k], back[k]) and arrays[k].shape == back[k].shape for k in arrays)


def test_arrays_are_copies() -> None:
    net = Twins()
    arrays = get_arrays(net)
    with torch.no_grad():
        net.first.weight += 1.0
    assert not np.array_equal(arrays["first.weight"], net.first.weight.detach().numpy())


@pytest.mark.parametrize("change", ["missing", "order", "shape", "dtype"])
def test_model_of_another_layout_is_refused(change: str) -> None:
    net = Twins()
    arrays = get_arrays(net)
    if change == "missing":
        del arrays["count"]
    elif change == "order":
        arrays = dict(reversed(arrays.items()))
    elif change == "shape":
        arrays["first.bias"] = arrays["first.bias"].reshape(1, 1)
    else:
        arrays["first.bias"] = arrays["first.bias"].astype(np.float64)
    with pytest.raises(ExchangeError, match="MODEL-MISMATCH"):
        load_arrays(net, arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused_and_change_nothing(value: float) -> None:
    net = Twins()
    before = get_arrays(net)
    arrays = {k: a.copy() for k, a in before.items()}
    arrays["first.weight"][0, 0] = value
    with pytest.raises(ExchangeError, match=r"MODEL-NONFINITE.*first\.weight"):
        load_arrays(net, arrays)
    assert np.array_equal(get_arrays(net)["first.weight"], before["first.weight"])
