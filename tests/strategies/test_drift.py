"""Client drift on a federation of bowls: who ends where, by the papers' own equations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedProx as FlowerFedProx

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.algorithms.feddyn import FedDynClient
from medfl.clients.algorithms.fedprox import FedProxClient
from medfl.clients.algorithms.scaffold import ScaffoldClient
from medfl.errors import QuorumError
from medfl.runs import checkpoint_files
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.feddyn import FedDyn
from medfl.strategies.fedprox import FedProx
from medfl.strategies.scaffold import Scaffold
from medfl.testing.strategy_contract import ANY_NUMBER
from tests.strategies import quadratic
from tests.strategies.quadratic import NAMES, RATE, STEPS, WEIGHTS, Federation, averaging_ends, optimum, play

pytestmark = pytest.mark.slow  # tens of rounds of real training each

EVEN = dict.fromkeys(NAMES, 1)


@dataclasses.dataclass
class Stage:
    """A strategy and the sites that it talks to."""

    strategy: FedAvg
    federation: Federation
    grid: Any

    def run(self, first: int, last: int, arrays: ArrayRecord | None = None) -> ArrayRecord:
        return play(self.strategy, self.grid, arrays or quadratic.start(), range(first, last + 1))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake: Any) -> Callable[..., Stage]:
    """Return a maker of stages; all of one test share the disks of the sites."""
    monkeypatch.setattr("os.fsync", lambda _: None)  # hundreds of rounds, and no power that may fail

    def make(
        kind: type[FedAvg], algorithm: ClientAlgorithm, *, weighted: bool = False, options: Any = None, **study: Any
    ) -> Stage:
        federation = Federation(algorithm, tmp_path, quadratic.study(**study))
        weights = "train.patients" if weighted else ""
        strategy = kind(weighted_by_key=weights, site_names=federation.nodes, **(options or {}))
        return Stage(strategy, federation, fake(federation.answers()))

    return make


def w(arrays: ArrayRecord) -> np.ndarray:
    return arrays["w"].numpy()


@pytest.mark.parametrize("weighted", [False, True])
def test_averaging_ends_beside_the_optimum_and_where_algebra_says(stage: Any, weighted: bool) -> None:
    weights = WEIGHTS if weighted else EVEN
    reached = w(stage(FedAvg, ClientAlgorithm(), weighted=weighted).run(1, 20))
    assert reached == pytest.approx(averaging_ends(weights), abs=1e-7)
    assert np.linalg.norm(reached - optimum(weights)) > 0.1


@pytest.mark.parametrize(("mu", "rounds"), [(0.0, 20), (0.5, 20), (4.0, 60)])
def test_a_spring_moves_the_end_to_where_algebra_says(stage: Any, mu: float, rounds: int) -> None:
    reached = w(stage(FedProx, FedProxClient(mu), options={"proximal_mu": mu}).run(1, rounds))
    assert reached == pytest.approx(averaging_ends(EVEN, mu), abs=1e-7)


def test_a_stiffer_spring_ends_nearer_to_the_optimum() -> None:
    away = [np.linalg.norm(averaging_ends(EVEN, mu) - optimum(EVEN)) for mu in (0.0, 1.0, 4.0)]
    assert away == sorted(away, reverse=True)


EXACT = {
    "scaffold": (Scaffold, ScaffoldClient(), {}),
    "feddyn": (FedDyn, FedDynClient(1.0), {"alpha": 1.0}),
}
exact = pytest.mark.parametrize(("kind", "algorithm", "options"), EXACT.values(), ids=EXACT.keys())


@exact
@pytest.mark.parametrize(("weighted", "momentum"), [(True, 0.0), (False, 0.5)])
def test_the_exact_optimum_is_reached(
    stage: Any, kind: Any, algorithm: ClientAlgorithm, options: Any, weighted: bool, momentum: float
) -> None:
    reached = w(stage(kind, algorithm, weighted=weighted, options=options, momentum=momentum).run(1, 50))
    assert reached == pytest.approx(optimum(WEIGHTS if weighted else EVEN), abs=1e-5)


@exact
def test_the_exact_optimum_is_reached_with_half_of_the_sites_a_round(
    stage: Any, kind: Any, algorithm: ClientAlgorithm, options: Any
) -> None:
    reached = w(stage(kind, algorithm, weighted=True, options=options | {"fraction_train": 0.5}).run(1, 100))
    assert reached == pytest.approx(optimum(WEIGHTS), abs=1e-5)


@exact
def test_replies_that_never_came_are_as_if_the_site_had_not_been_asked(
    stage: Any, kind: Any, algorithm: ClientAlgorithm, options: Any
) -> None:
    """A site that went on from what the server does not know of would shift the end for good."""
    staged = stage(kind, algorithm, options=options)
    staged.federation.lost = {(NAMES[number % 4], number) for number in range(1, 20)} | {(NAMES[0], 21), (NAMES[0], 22)}
    assert w(staged.run(1, 50)) == pytest.approx(optimum(EVEN), abs=1e-5)


@exact
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_a_run_that_stopped_goes_on_with_the_same_bits(
    stage: Any, kind: Any, algorithm: ClientAlgorithm, options: Any, fraction: float, tmp_path: Path
) -> None:
    options = options | {"fraction_train": fraction}
    through = stage(kind, algorithm, weighted=True, options=options, rounds=8).run(1, 8)
    first = stage(kind, algorithm, weighted=True, options=options, rounds=8)
    model = first.run(1, 4)
    checkpoint_files.save(tmp_path, "state", first.strategy.state(), {})
    first.run(5, 5, model)  # the sites have done the next round when the server falls
    again = stage(kind, algorithm, weighted=True, options=options, rounds=8)
    again.strategy.restore(checkpoint_files.load(tmp_path, "state").arrays)
    assert w(again.run(5, 8, model)).tobytes() == w(through).tobytes()


def test_the_control_variates_are_the_gradients_in_the_end(stage: Any) -> None:
    staged = stage(Scaffold, ScaffoldClient())
    staged.run(1, 40)
    state = staged.strategy.state()
    assert state["sum/w"] == pytest.approx(np.zeros(3), abs=1e-5)
    assert {int(state[f"counted/{name}"]) for name in NAMES} == {40}


@pytest.mark.parametrize(("momentum", "reach"), [(0.0, STEPS * RATE), (0.5, RATE * (1.5 + 1.75 + 1.875 + 1.9375 + 1.96875))])
def test_first_round_of_scaffold_by_hand(stage: Any, momentum: float, reach: float) -> None:
    """From zero the first round is FedAvg's, and c is the mean way down divided by the rates, by equation (4)."""
    averaged = w(stage(FedAvg, ClientAlgorithm(), momentum=momentum).run(1, 1))
    staged = stage(Scaffold, ScaffoldClient(), momentum=momentum)
    assert w(staged.run(1, 1)).tobytes() == averaged.tobytes()
    assert staged.strategy.state()["sum/w"] / 4 == pytest.approx((1.0 - averaged) / reach, abs=1e-7)


def test_rates_of_the_schedule_are_those_of_the_control_variate(stage: Any) -> None:
    staged = stage(Scaffold, ScaffoldClient(), schedule="cosine", rounds=1)
    reached = w(staged.run(1, 1))
    rates = [RATE * (1 + np.cos(np.pi * (k + 0.5) / STEPS)) / 2 for k in range(STEPS)]
    assert staged.strategy.state()["sum/w"] / 4 == pytest.approx((1.0 - reached) / sum(rates), abs=1e-7)


def test_two_rounds_of_feddyn_by_hand(stage: Any) -> None:
    """h after the first round is -alpha times the mean way, and the model goes that way twice."""
    prox = w(stage(FedProx, FedProxClient(0.5)).run(1, 1))
    reached = w(stage(FedDyn, FedDynClient(0.5)).run(1, 1))
    assert reached == pytest.approx(1.0 + 2 * (prox - 1.0), abs=1e-7)


def test_the_server_of_scaffold_steps_by_its_own_rate(stage: Any) -> None:
    whole = w(stage(Scaffold, ScaffoldClient()).run(1, 1))
    half = w(stage(Scaffold, ScaffoldClient(), options={"server_learning_rate": 0.5}).run(1, 1))
    assert half == pytest.approx((whole + 1.0) / 2, abs=1e-12)


def test_a_site_that_joins_no_round_counts_in_the_mean(stage: Any) -> None:
    """With 1 of 4 sites in the round, c moves by a fourth of that site's change: |S| / N of Algorithm 1, line 17."""
    staged = stage(Scaffold, ScaffoldClient(), options={"fraction_train": 0.25, **ANY_NUMBER})
    staged.run(1, 1)
    (asked,) = staged.strategy.last_round.replies
    change = staged.strategy.state()["sum/w"]
    messages = list(staged.strategy.configure_train(2, quadratic.start(), ConfigRecord(), staged.grid))
    assert messages[0].content["control"]["w"].numpy() == pytest.approx(change / 4)
    assert asked.site in NAMES


def test_prox_tells_the_sites_as_flower_does(fake: Any, initial: ArrayRecord) -> None:
    grid, config = fake({11: None, 12: None}), ConfigRecord({"lr": 0.1})
    sent = [dict(m.content["config"]) for m in FedProx(proximal_mu=0.3).configure_train(2, initial, config, grid)]
    theirs = FlowerFedProx(proximal_mu=0.3).configure_train(2, initial, ConfigRecord({"lr": 0.1}), grid)
    assert sent == [dict(m.content["config"]) for m in theirs]
    assert "proximal-mu" not in config


@pytest.mark.parametrize("kind", [Scaffold, FedDyn])
def test_only_training_carries_what_training_needs(kind: Any, fake: Any, initial: ArrayRecord) -> None:
    strategy, grid = kind(**ANY_NUMBER), fake({11: None})
    (train,) = strategy.configure_train(1, initial, ConfigRecord(), grid)
    (evaluate,) = strategy.configure_evaluate(1, initial, ConfigRecord(), grid)
    assert "counted" in train.content
    assert set(evaluate.content) == {"arrays", "config"}


def test_feddyn_leaves_out_sites_that_train_without_its_regulariser(stage: Any) -> None:
    """Their model would overshoot: w_t + mean change, plus the mean change once more."""
    with pytest.raises(QuorumError, match="REGULARISER-MISSING"):
        stage(FedDyn, ClientAlgorithm()).run(1, 1)


def test_a_reply_without_its_control_variate_is_left_out(fake: Any, make: Any, initial: ArrayRecord) -> None:
    with pytest.raises(QuorumError, match="CONTROL-MISSING"):
        Scaffold(**ANY_NUMBER).start(fake({11: make.trained(make.model(5), 3)}), initial, num_rounds=1)
