"""A run of simulated hospitals in this process, each of which watches the path of the model as a real one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict

from medfl import server_app
from medfl.clients import model_watch, node_cache, session
from medfl.clients.training.task import TrainResult
from medfl.messages import records
from medfl.privacy.model_path import Alarm
from medfl.privacy.questions import read_question
from medfl.study.algorithms import ALGORITHMS
from tests.server.direct_grid import DirectGrid

# What a hospital sees of a run: all of it, or only some of its rounds; each sees the test.
PRESENCE: Mapping[str, Callable[[int], bool]] = {
    "always": lambda number: True,
    "missing": lambda number: number % 3 == 1,
    "late": lambda number: number > 2,
    "last": lambda number: number > 10,
}
SGD: dict[str, Any] = {"optimizer.name": "sgd", "optimizer.learning-rate": 0.02}
_FEW_SITES: dict[str, dict[str, Any]] = {  # options with which the robust rules work at three hospitals
    "fedtrimmedavg": {"strategy.options.beta": 0.34},
    "krum": {"strategy.options.malicious": 0},
    "multikrum": {"strategy.options.malicious": 0},
}
_VARIANTS: dict[str, dict[str, Any]] = {
    "sgd": SGD,
    "int8": {"compression.codec": "int8"},
    "top-k": {"compression.codec": "top-k"},
    "batch-norm": {"network.norm": "batch", "personal.layers": "norm", "arms": "federated,local"},
    "local+whole": {"strategy.name": "fedper", "arms": "federated,local"},
    "low-rank": {"training.tune": "lora", "training.lora-average": "both", "arms": "federated,local"},
    "low-rank-9": {"training.tune": "lora", "training.lora-rank": 9, "training.lora-average": "both"},  # filter rules count B
    "fine-tune": {"personal.fine-tune-steps": 3},
    "shapley": {"contribution.method": "shapley"},
    "leave-one-out": {"contribution.method": "leave-one-out", **SGD},
    "warm-up": {"schedule.warmup-rounds": 2, "schedule.name": "cosine"},
    "cosine": {"schedule.name": "cosine", "training.local-steps": 20, "rounds": 12},
}
Largest = dict[str, tuple[float, str]]  # by what was measured: the largest figure beside its limit, and where


class WatchedGrid(DirectGrid):
    """Simulated hospitals that answer at once, and watch what they receive.

    Parameters
    ----------
    config : dict
        Run configuration.
    nodes : int
        Number of hospitals.
    folder : Path
        Where each keeps what it needs to watch.
    """

    def __init__(self, config: dict[str, Any], nodes: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(config, nodes)
        self.largest: Largest = {}
        self._folder, self._notes = folder, list[Callable[..., None]]()
        patch.setattr(session, "train", partial(self._train, session.train))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers: list[str] = []
        for message in messages:
            self._watch(message)
            identifiers += super().push_messages([message])
        return identifiers

    def _watch(self, message: Message) -> None:
        self._notes = []
        context = self._contexts[message.metadata.dst_node_id]
        opened = node_cache.open_node(context)
        question = read_question(message.metadata.message_type, message.content, opened.study, "run")
        arrays = {name: records.from_array_record(record) for name, record in message.content.array_records.items()}
        for presence, is_there in PRESENCE.items():
            if not arrays or (question.item.kind != "test" and not is_there(question.item.round)):
                continue
            site = opened.site.model_copy(update={"folder": self._folder / f"{presence}-{opened.site.name}"})
            for figure in model_watch.measure(opened.study, site, "run", question.item, arrays):
                self._record(figure, f"{presence} {question.item.kind} {question.item.arm} {question.item.round}")
            self._notes.append(partial(model_watch.note_update, opened.study, site, "run", question.item))

    def _record(self, figure: Alarm, when: str) -> None:
        share = figure.measured / figure.limit if figure.limit else figure.measured
        if not share <= self.largest.get(figure.what, (-1.0, ""))[0]:
            self.largest[figure.what] = (share, f"{figure.tensor}, {when}")

    def _train(self, train: Callable[..., TrainResult], task: Any, algorithm: Any = None) -> TrainResult:
        result = train(task, algorithm)
        for note in self._notes:
            note(task.received, result.arrays, int(result.metrics[records.TRAIN_STEPS]))
        return result


def conduct_watched(config: dict[str, Any], nodes: int, folder: Path) -> Largest:
    """Conduct a run, and return the largest figures that its hospitals measured."""
    with pytest.MonkeyPatch.context() as patch:
        grid = WatchedGrid(config, nodes, folder, patch)
        server_app.main(grid, Context(1, 1, {}, RecordDict(), config))
    return grid.largest


def list_runs() -> dict[str, dict[str, Any]]:
    """Return the changes to the small study of each run, by its name."""
    named: dict[str, dict[str, Any]] = {name: {"strategy.name": name, **_FEW_SITES.get(name, {})} for name in ALGORITHMS}
    runs = {name: changes | (SGD if "sgd" in ALGORITHMS[name].optimizers else {}) for name, changes in named.items()}
    steps = {
        f"steps+{name}": {**runs[name], "training.local-steps": 20} for name in ("fedavg", "scaffold", "feddyn", "fedadam")
    }
    return runs | _VARIANTS | steps
