"""A Flower app that trains a network with BatchNorm at sites whose images differ in scale, and sends it whole."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from medfl.messages.records import CONTROL, COUNTED, from_array_record
from medfl.testing import FakeGrid
from medfl.testing.fake_grid import Answer, Model, reply_with_error

SCALES = (1.0, 1.0, 3.0, 30.0, 300.0, 1000.0)  # of the images: variances differ by 10^6
_DROPS_OUT = 3  # number of the site that is lost after the first round
_IMAGES, _STEPS, _RATE = 16, 4, 0.05


def make_net() -> nn.Sequential:
    """Return the network with its first weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


@cache
def images(site: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images of a site and their classes."""
    generator = torch.Generator().manual_seed(site)
    classes = torch.randint(0, 2, (_IMAGES,), generator=generator)
    noise = torch.randn(_IMAGES, 6, generator=generator)
    return scale * SCALES[site] * (noise + classes[:, None]), classes


def make_client(site: int, scale: float) -> ClientApp:
    """Return the app of a site; it does what SCAFFOLD and FedDyn ask for where the server sends what they need."""
    app = ClientApp()
    loss_of = nn.functional.cross_entropy

    @app.train()
    def train(message: Message, context: Context) -> Message:
        net = make_net()
        net.load_state_dict(message.content["arrays"].to_torch_state_dict())
        x, y = images(site, scale)
        optimizer = torch.optim.SGD(net.parameters(), _RATE)
        before = float(loss_of(net(x), y).detach())
        for _ in range(_STEPS):
            optimizer.zero_grad()
            loss = loss_of(net(x), y)
            loss.backward()
            optimizer.step()
        metrics = {"num-examples": _IMAGES + site, "train_loss": before, "train.loss": float(loss.detach())}
        content = RecordDict({"arrays": ArrayRecord(net.state_dict())})
        content["metrics"] = MetricRecord({**metrics, "train.steps": _STEPS * (1 + site)})
        content.update({name: message.content[name] for name in (CONTROL, COUNTED) if name in message.content})
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        net = make_net()
        net.load_state_dict(message.content["arrays"].to_torch_state_dict())
        x, y = images(site, scale)
        with torch.no_grad():
            loss = float(loss_of(net.eval()(x), y))
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": _IMAGES, "loss": loss})}), reply_to=message)

    return app


def make_grid(scale: float) -> FakeGrid:
    """Return the sites; one of them is lost after the first round."""

    def make_node(site: int) -> Answer:
        app = make_client(site, scale)

        def answer(message: Message) -> Message | None:
            is_lost = site == _DROPS_OUT and message.content["config"]["server-round"] != 1
            return lost(message) if is_lost else app(message, Context(1, site, {}, RecordDict(), {}))

        return answer

    lost = reply_with_error(5, "Node Unavailable", as_server=True)
    return FakeGrid({2 + site: make_node(site) for site in range(len(SCALES))})


def run(strategy: Any, rounds: int = 5, scale: float = 1.0) -> tuple[list[Model], list[float]]:
    """Return the model after each round, and the mean loss of the sites after each."""
    models: list[Model] = []

    def keep(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            models.append(from_array_record(arrays))

    initial = ArrayRecord(make_net().state_dict())
    result = strategy.start(make_grid(scale), initial, num_rounds=rounds, evaluate_fn=keep)
    return models, [float(metrics["loss"]) for metrics in result.evaluate_metrics_clientapp.values()]
