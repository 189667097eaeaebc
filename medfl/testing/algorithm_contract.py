"""Contract of client algorithms: the tests that each must pass, whatever it does with a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medfl.clients import session
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks.arrays import Arrays, get_arrays
from medfl.clients.networks.tuning import build_training_network
from medfl.clients.training.client_state import ClientState
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.data.store.prepared_data import PreparedData
from medfl.messages.records import TRAIN_LOSS, TRAIN_PATIENTS, TRAIN_SAMPLES, TRAIN_SECONDS, TRAIN_STEPS
from medfl.testing.sites import make_segmentation_site, make_site, make_study

_COUNTS = {TRAIN_PATIENTS, TRAIN_SAMPLES, TRAIN_STEPS, TRAIN_LOSS, TRAIN_SECONDS}


class ClientAlgorithmContract:
    """Tests of one client algorithm, which a subclass names: rounds of training at a small site with images built in memory.

    Attributes
    ----------
    build : callable
        The class of the algorithm, or a callable that builds one; wrap a function in ``staticmethod``. A new one is built for
        every message, as in a hospital.
    tables : mapping of str to Any
        Tables of the study that the algorithm needs, ``{"optimizer": {"name": "sgd"}}``.
    """

    build: Callable[[], ClientAlgorithm]
    tables: Mapping[str, Any] = {}

    def server_records(self, model: Arrays, server_round: int) -> dict[str, Arrays]:
        """Return what the server sends besides the model, by the name of the record."""
        return {}

    def test_the_model_keeps_its_layout_and_is_finite_and_trained(self, tmp_path: Path) -> None:
        start = self._start()
        outcome = self._train(start, tmp_path)
        assert [(n, x.shape, x.dtype) for n, x in outcome.arrays.items()] == [(n, x.shape, x.dtype) for n, x in start.items()]
        for tensors in (outcome.arrays, *outcome.records.values()):
            assert all(np.isfinite(x).all() for x in tensors.values())
        assert not _are_equal(outcome.arrays, start)

    def test_its_input_is_not_changed(self, tmp_path: Path) -> None:
        start = self._start()
        copies = {name: x.copy() for name, x in start.items()}
        outcome = self._train(start, tmp_path)
        assert _are_equal(start, copies)
        assert not any(np.shares_memory(outcome.arrays[name], start[name]) for name in start)

    def test_the_seed_decides_and_not_an_earlier_training_in_the_process(self, tmp_path: Path) -> None:
        start = self._start()
        one = self._train(start, tmp_path / "one")
        other = self._train(start, tmp_path / "other", seed=8, data=make_segmentation_site(3))
        again = self._train(start, tmp_path / "again")
        assert _are_equal(one.arrays, again.arrays)
        assert all(_are_equal(one.records[name], again.records[name]) for name in one.records)
        assert one.records.keys() == again.records.keys()
        assert not _are_equal(one.arrays, other.arrays)

    def test_every_site_and_round_sends_the_same_metrics(self, tmp_path: Path) -> None:
        first = self._train(self._start(), tmp_path / "one")
        small = self._train(self._start(), tmp_path / "small", data=make_segmentation_site(1))
        second = self._train(first.arrays, tmp_path / "one", 2)
        assert first.metrics.keys() == small.metrics.keys() == second.metrics.keys()
        assert first.metrics.keys() >= _COUNTS
        assert all(key.startswith("train.") for key in first.metrics)
        assert all(math.isfinite(x) for value in first.metrics.values() for x in np.atleast_1d(value))
        assert first.records.keys() == small.records.keys() == second.records.keys()

    def test_a_round_that_is_repeated_after_a_crash_gives_the_same_bits(self, tmp_path: Path) -> None:
        first = self._train(self._start(), tmp_path)
        second = self._train(first.arrays, tmp_path, 2)
        repeated = self._train(first.arrays, tmp_path, 2)
        third = self._train(second.arrays, tmp_path, 3)
        assert _are_equal(second.arrays, repeated.arrays)
        assert all(_are_equal(second.records[name], repeated.records[name]) for name in second.records)
        assert not _are_equal(second.arrays, third.arrays)

    def _start(self) -> Arrays:
        return get_arrays(build_training_network(make_study(**self.tables)))

    def _train(
        self, start: Arrays, folder: Path, server_round: int = 1, *, seed: int = 7, data: PreparedData | None = None
    ) -> TrainResult:
        study = make_study(**self.tables)
        task = TrainTask(
            study,
            make_site(),
            data or make_segmentation_site(),
            build_training_network(study),
            start,
            server_round,
            seed + server_round,
            records=self.server_records(start, server_round),
            state=ClientState(folder / "state", server_round),
        )
        return session.train(task, self.build())


def _are_equal(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)
