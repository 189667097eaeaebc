"""Client algorithms against drift, on tiny images: FedProx, SCAFFOLD, FedDyn and MOON."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from medfl.clients import session
from medfl.clients.algorithms.algorithm_registry import CLIENT_ALGORITHMS, build_algorithm
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.algorithms.feddyn import FedDynClient
from medfl.clients.algorithms.fedprox import FedProxClient
from medfl.clients.algorithms.moon import BottleneckHook, ContrastiveHooks, MoonClient
from medfl.clients.algorithms.proximal_term import ProximalTerm
from medfl.clients.algorithms.scaffold import ScaffoldClient
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.layers import local_names
from medfl.clients.networks.network_builders import build_network, network_names
from medfl.clients.networks.tensors import trainable
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.devices import Device
from medfl.clients.training.forward import forward
from medfl.clients.training.task import TrainTask
from medfl.errors import ConfigError, ExchangeError, RunError
from medfl.messages import records
from medfl.study.algorithms import ALGORITHMS
from medfl.study.network_options import NETWORKS_BY_KIND
from tests.clients.conftest import NO_STATE

SGD = {"name": "sgd", "learning-rate": 0.05, "momentum": 0.9}
KINDS = ["segmentation", "classification"]
ALGORITHM = {"fedprox": FedProxClient(0.5), "scaffold": ScaffoldClient(), "feddyn": FedDynClient(0.5), "moon": MoonClient()}

both_kinds = pytest.mark.parametrize("kind", KINDS)
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHM.values(), ids=ALGORITHM.keys())


@pytest.fixture
def ask(make_study, site, organs, findings, tmp_path: Path):
    """Return a function that trains a site for a round, with all that the servers of these algorithms send."""

    def make(algorithm, kind="segmentation", number=1, model=None, control=0.0, counted=None, folder="site", steps=3, **study):
        study = make_study(kind, optimizer=SGD, training={"local-steps": steps}, **study)
        net = build_network(study)
        received = model or get_arrays(net)
        sent = {
            records.CONTROL: {name: np.full_like(tensor, control) for name, tensor in received.items()},
            records.COUNTED: {records.ROUND: np.array(number - 1 if counted is None else counted)},
        }
        data = organs() if kind == "segmentation" else findings
        state = ClientState(tmp_path / folder, number)
        return session.train(
            TrainTask(study, site, data, net, received, number, 40 + number, records=sent, state=state), algorithm
        )

    return make


def bits(arrays) -> bytes:
    return b"".join(a.tobytes() for a in arrays.values())


def distance(one, two) -> float:
    return float(np.sqrt(sum(np.sum((one[name] - two[name]) ** 2.0) for name in one)))


@both_kinds
@pytest.mark.parametrize("algorithm", [FedProxClient(0.0), ScaffoldClient(), MoonClient(), MoonClient(0.0)])
def test_without_its_term_an_algorithm_is_fedavg_to_the_bit(ask, kind, algorithm) -> None:
    outcome, plain = ask(algorithm, kind), ask(ClientAlgorithm(), kind)
    assert bits(outcome.arrays) == bits(plain.arrays)
    assert outcome.metrics[records.TRAIN_LOSS] == plain.metrics[records.TRAIN_LOSS]


@both_kinds
@every_algorithm
def test_two_rounds_are_the_same_bits_every_time(ask, kind, algorithm) -> None:
    common = ask(ClientAlgorithm(), kind, number=7).arrays  # stands for the mean of the sites

    def two_rounds(folder: str):
        ask(algorithm, kind, folder=folder)
        torch.manual_seed(1)
        return ask(algorithm, kind, number=2, model=common, control=0.01, folder=folder)

    one, other = two_rounds("a"), two_rounds("b")
    assert bits(one.arrays) == bits(other.arrays)
    assert bits(one.records.get("control", {})) == bits(other.records.get("control", {}))
    plain = ask(ClientAlgorithm(), kind, number=2, model=common)
    assert bits(one.arrays) != bits(plain.arrays)
    assert one.metrics.keys() == plain.metrics.keys()


@every_algorithm
def test_a_repeated_round_is_the_same_to_the_bit(ask, algorithm) -> None:
    first = ask(algorithm)
    second = [ask(algorithm, number=2, model=first.arrays, control=0.01) for _ in range(2)]
    assert bits(second[0].arrays) == bits(second[1].arrays)


@pytest.mark.parametrize("algorithm", [ScaffoldClient(), FedDynClient(), MoonClient()])
def test_the_state_lies_in_a_folder_that_only_the_owner_reads(ask, algorithm, tmp_path: Path) -> None:
    ask(algorithm)
    assert stat.S_IMODE((tmp_path / "site").stat().st_mode) == 0o700
    assert len(list((tmp_path / "site").glob("*.safetensors"))) == 1


@pytest.mark.parametrize("algorithm", [ScaffoldClient(), FedDynClient()])
def test_what_the_server_did_not_count_is_as_if_it_had_not_happened(ask, algorithm) -> None:
    first = ask(algorithm)
    ask(algorithm, number=2, model=first.arrays, control=0.5)  # lost on the way
    third = ask(algorithm, number=3, model=first.arrays, control=0.1, counted=1)
    ask(algorithm, folder="calm")
    calm = ask(algorithm, number=3, model=first.arrays, control=0.1, counted=1, folder="calm")
    never = ask(algorithm, number=3, model=first.arrays, control=0.1, counted=0)
    assert bits(third.arrays) == bits(calm.arrays) != bits(never.arrays)


@pytest.mark.parametrize("algorithm", [ScaffoldClient(), FedDynClient()])
def test_a_site_that_lost_what_the_server_counts_on_says_so(ask, algorithm) -> None:
    with pytest.raises(RunError, match="STATE-LOST"):
        ask(algorithm, number=5)


@pytest.mark.parametrize("algorithm", [ScaffoldClient(), FedDynClient()])
def test_a_record_that_the_server_did_not_send_is_missed(ask, algorithm, make_study, site, organs) -> None:
    study = make_study(optimizer=SGD)
    net = build_network(study)
    with pytest.raises(ExchangeError, match="RECORD-MISSING"):
        session.train(TrainTask(study, site, organs(), net, get_arrays(net), 1, 1, NO_STATE), algorithm)


def test_what_is_added_is_the_gradient_of_the_proximal_term() -> None:
    net = torch.nn.Linear(3, 2)
    anchor = {name: torch.randn_like(p) for name, p in trainable(net).items()}
    net(torch.ones(1, 3)).sum().backward()
    ProximalTerm(0.7, anchor).adjust_gradients(net)
    adjusted = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    term = sum(((p - anchor[name]) ** 2).sum() for name, p in net.named_parameters())
    (net(torch.ones(1, 3)).sum() + 0.7 / 2 * term).backward()
    assert all(torch.allclose(a, p.grad) for a, p in zip(adjusted, net.parameters(), strict=True))


@both_kinds
def test_a_larger_mu_keeps_the_model_nearer(ask, kind) -> None:
    start = ask(ClientAlgorithm(), kind, folder="x").arrays
    moved = [distance(ask(FedProxClient(mu), kind, number=2, model=start).arrays, start) for mu in (0.0, 1.0, 10.0)]
    assert moved == sorted(moved, reverse=True)


def test_the_control_variate_is_the_mean_gradient_on_the_way(ask, make_study) -> None:
    """In the first round c and c_i are 0: (x - y) / length, with the path length of three Nesterov steps by hand."""
    start = get_arrays(build_network(make_study()))
    outcome = ask(ScaffoldClient())
    length = 0.05 * ((1 + 0.9) + (1 + 0.9 * 1.9) + (1 + 0.9 * 2.71))
    for name, change in outcome.records["control"].items():
        assert change == pytest.approx((start[name] - outcome.arrays[name]) / length, rel=1e-5, abs=1e-7)


def test_control_variates_of_another_model_are_refused(ask, make_study, site, organs, tmp_path) -> None:
    study = make_study(optimizer=SGD)
    net = build_network(study)
    arrays = get_arrays(net)
    sent = {"counted": {records.ROUND: np.array(0)}, "control": {name: np.zeros(5, np.float32) for name in arrays}}
    task = TrainTask(study, site, organs(), net, arrays, 1, 1, ClientState(tmp_path / "s", 1), sent)
    with pytest.raises(ExchangeError, match="CONTROL-MISMATCH"):
        session.train(task, ScaffoldClient())


LOCAL = {"network": {"name": "cnn", "channels": "4,8"}, "personal": {"layers": "norm,head"}}


def test_fedprox_pulls_shared_layers_alone(make_study, make_task, findings) -> None:
    task = make_task(make_study("classification", **LOCAL), findings)
    local = local_names(task.study, task.net)
    assert len(local) == 4 * 2 + 2  # four norms and the head
    hooks = FedProxClient(0.5).step_hooks(task)
    for parameter in trainable(task.net).values():
        parameter.data += 1.0
        parameter.grad = torch.zeros_like(parameter)
    hooks.adjust_gradients(task.net)
    for name, parameter in trainable(task.net).items():
        assert parameter.grad.numpy() == pytest.approx(0.0 if name in local else 0.5, abs=1e-6)


def test_feddyn_pulls_shared_layers_alone(ask, make_study) -> None:
    ask(FedDynClient(1.0), "classification", **LOCAL)
    start = ask(ClientAlgorithm(), "classification", folder="other", **LOCAL).arrays
    pulled = ask(FedDynClient(1.0), "classification", number=2, model=start, steps=1, **LOCAL).arrays
    plain = ask(ClientAlgorithm(), "classification", number=2, model=start, steps=1, **LOCAL).arrays
    study = make_study("classification", **LOCAL)
    local = local_names(study, build_network(study))
    pulled_names = {name for name in plain if not np.array_equal(plain[name], pulled[name])}
    assert pulled_names
    assert not pulled_names & local


def test_the_options_of_a_study_reach_the_algorithm(ask, make_study, site) -> None:
    study = make_study(strategy={"name": "moon", "options": {"mu": 0.25, "temperature": 0.1}})
    start = ask(ClientAlgorithm(), number=7).arrays

    def second_round(algorithm) -> bytes:
        ask(algorithm)
        return bits(ask(algorithm, number=2, model=start).arrays)

    assert second_round(build_algorithm(study, site)) == second_round(MoonClient(0.25, 0.1))
    assert len({second_round(MoonClient(mu, tau)) for mu, tau in ((0.25, 0.1), (1.0, 0.1), (0.25, 0.5))}) == 3


@pytest.mark.parametrize("name", CLIENT_ALGORITHMS)
def test_the_defaults_of_a_study_are_options_of_the_algorithm(name: str) -> None:
    assert isinstance(CLIENT_ALGORITHMS[name](**ALGORITHMS[name].options().model_dump()), ClientAlgorithm)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_study_of_scaffold_without_sgd_is_refused(make_study, optimizer) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.name: the update of 'scaffold' is derived for sgd"):
        make_study(strategy={"name": "scaffold"}, optimizer={"name": optimizer})
    make_study(strategy={"name": "feddyn"}, optimizer={"name": optimizer})


# MOON


class TwoFeatures(torch.nn.Module):
    """A classifier whose representation is the image, two numbers, rotated by an angle."""

    def __init__(self, angle: float) -> None:
        super().__init__()
        self.body, self.head = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2)
        with torch.no_grad():
            c, s = float(np.cos(angle)), float(np.sin(angle))
            self.body.weight.copy_(torch.tensor([[c, -s], [s, c]]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def test_the_contrast_by_hand() -> None:
    """Representations are the image rotated by 0, 60 and 90 degrees, so the cosines are 1/2 and 0."""
    net, received, previous = TwoFeatures(0.0), TwoFeatures(np.pi / 3), TwoFeatures(np.pi / 2)
    images, zero = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(())
    with ContrastiveHooks(net, received, previous, 3.0, 0.5, Device(torch.device("cpu"), None)) as hooks:
        logits = net(images)
        loss = hooks.compute_loss(net, images, zero, logits, zero)
    assert float(loss.detach()) == pytest.approx(3.0 * -np.log(np.e / (np.e + 1)), rel=1e-5)
    loss.backward()
    assert net.body.weight.grad is not None
    assert net.head.weight.grad is None
    assert all(p.grad is None for fixed in (received, previous) for p in fixed.parameters())
    assert not net._forward_pre_hooks
    assert not net.body._forward_pre_hooks


@both_kinds
def test_moon_uses_the_previous_local_model_from_the_second_round_on(ask, kind) -> None:
    first = ask(MoonClient(), kind)
    start = ask(ClientAlgorithm(), kind, folder="other", number=3).arrays
    moon = ask(MoonClient(5.0), kind, number=2, model=start)
    plain = ask(ClientAlgorithm(), kind, number=2, model=start)
    assert bits(moon.arrays) != bits(plain.arrays)
    assert bits(moon.arrays) != bits(first.arrays)


SMALL = {
    "unet": {"channels": "4,8,16", "residual-units": 1},
    "basic-unet": {"features": "4,4,8,8,16,4"},
    "dynunet": {"filters": "4,8,16"},
    "segresnet": {"filters": 8},
    "swin-unetr": {"features": 12},
    "unetr": {"features": 4, "hidden": 24, "heads": 2},
    "densenet121": {},
    "resnet": {"depth": 10},
    "efficientnet": {},
    "vit": {"hidden": 24, "heads": 2, "layers": 2},
    "cnn": {"channels": "4,8"},
}
CHANNELS = {"unet": 8 + 16, "basic-unet": 16, "dynunet": 16, "segresnet": 64, "swin-unetr": 192, "unetr": 24}
CHANNELS |= {"densenet121": 1024, "resnet": 512, "efficientnet": 1280, "vit": 24, "cnn": 8}


@pytest.mark.parametrize("name", network_names())
def test_the_representation_is_the_bottleneck_or_what_the_head_gets(name: str, make_study) -> None:
    kind = "segmentation" if name in NETWORKS_BY_KIND["segmentation"] else "classification"
    sizes = {"preprocessing": {"size": "64,64"}, "training": {"patch": "64,64"} if kind == "segmentation" else {}}
    net = build_network(make_study(kind, network={"name": name, **SMALL[name]}, **sizes)).eval()
    assert set(trainable(net)) <= set(get_arrays(net))  # the names of its parameters are those of the exchange
    hook = BottleneckHook(net)
    forward(net, torch.randn(2, 1, 64, 64))
    assert hook.representation().shape == (2, CHANNELS[name])
    hook.close()
    assert not any(layer._forward_pre_hooks for layer in net.modules())
