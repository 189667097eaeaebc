from __future__ import annotations

import pytest
import torch

from medfl.clients.training.devices import Device, choose_device, deterministic
from medfl.errors import TrainingError
from medfl.site import Resources, Site


def test_cpu_works_in_float32(make_study, site) -> None:
    device = choose_device(make_study(), site)
    assert device == Device(torch.device("cpu"), None)
    assert not device.scaler().is_enabled()
    with device.autocast():
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_device_that_is_not_there_is_an_error_naming_those_that_are(make_study) -> None:
    with pytest.raises(TrainingError, match=r"DEVICE-MISSING.*no cuda.*cpu"):
        choose_device(make_study(), Site(name="a", resources=Resources(device="cuda")))


def test_settled_starts_from_the_seed_and_leaves_generator_and_threads_as_they_were(make_study) -> None:
    study, device = make_study(training={"threads": 1}), Device(torch.device("cpu"), None)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with deterministic(study, device, 7):
            assert torch.get_num_threads() == 1
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
