"""FedCostWAvg and FedPIDAvg: weights from size and loss, by hand, and after a restart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfl.aggregate import DiskReplies
from medfl.errors import QuorumError
from medfl.strategies.fedcostwavg import FedCostWAvg
from medfl.strategies.fedpidavg import FedPIDAvg
from tests.strategies.rounds import Model, moved, play

ZERO: Model = {"w": np.zeros(1)}


def sites(make: Any, a: float | None, b: float) -> Any:
    """Return a round in which a, of size 1, goes to 0 and b, of size 3, to 1, so that the model is the weight of b."""

    def answers(model: Model) -> Any:
        first = {} if a is None else {"cost": a}
        return {5: make.trained(ZERO, 1, **first), 6: make.trained(moved(ZERO, 1.0), 3, cost=b)}

    return answers


def weights(strategy: Any, rounds: list[Any]) -> list[float]:
    return [float(model["w"][0]) for model in play(strategy, ZERO, rounds)]


def test_fedcostwavg_by_hand(make: Any) -> None:
    # second round: falls 4/1 and 2/2, so b weighs 0.5 * 3/4 + 0.5 * 1/5
    made = weights(FedCostWAvg(loss_key="cost"), [sites(make, 4.0, 2.0), sites(make, 1.0, 2.0)])
    assert made == pytest.approx([0.75, 0.475])


def test_fedpidavg_by_hand(make: Any) -> None:
    # falls 3 and 1, sums 5 and 3: b weighs 0.4 * 3/4 + 0.4 * 1/4 + 0.2 * 3/8
    made = weights(FedPIDAvg(alpha=0.4, beta=0.4, loss_key="cost"), [sites(make, 4.0, 2.0), sites(make, 1.0, 1.0)])
    assert made == pytest.approx([0.75, 0.475])


def test_a_loss_that_rose_everywhere_leaves_its_share_to_the_sizes(make: Any) -> None:
    made = weights(FedPIDAvg(alpha=0.5, beta=0.5, loss_key="cost"), [sites(make, 1.0, 1.0), sites(make, 2.0, 2.0)])
    assert made == pytest.approx([0.75, 0.75])


def test_the_sum_forgets_what_is_older_than_the_window(make: Any) -> None:
    rounds = [sites(make, 100.0, 1.0), sites(make, 1.0, 1.0), sites(make, 1.0, 1.0)]
    made = weights(FedPIDAvg(alpha=0.0, beta=0.0, window=2, loss_key="cost"), rounds)
    assert made == pytest.approx([0.75, 2 / 103, 0.5])


@pytest.mark.parametrize("kind", [FedCostWAvg, FedPIDAvg])
def test_after_a_restart_it_goes_on_to_the_same_bits(kind: Any, make: Any) -> None:
    rounds = [sites(make, 4.0, 2.0), sites(make, 1.0, 1.5), sites(make, 0.5, 1.4)]
    whole = weights(kind(loss_key="cost"), rounds)
    first, second = kind(loss_key="cost"), kind(loss_key="cost")
    play(first, ZERO, rounds[:2])
    second.restore(first.state())
    assert weights(second, rounds[2:]) == whole[2:]


@pytest.mark.parametrize("cost", [None, float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("kind", [FedCostWAvg, FedPIDAvg])
def test_a_reply_without_its_loss_is_left_out(kind: Any, cost: float | None, make: Any) -> None:
    strategy = kind(loss_key="cost")
    assert weights(strategy, [sites(make, 4.0, 2.0), sites(make, cost, 2.0)])[1] == 1.0  # b alone
    assert [reply.status for reply in strategy.last_round.replies] == ["refused", "ok"]
    assert strategy.last_round.replies[0].reason == "[LOSS-MISSING] the metric 'cost' of the reply is not a loss."


@pytest.mark.parametrize("kind", [FedCostWAvg, FedPIDAvg])
def test_a_loss_under_another_name_does_not_make_it_fedavg_without_a_word(kind: Any, make: Any) -> None:
    with pytest.raises(QuorumError, match=r"the metric 'train\.loss' of the reply is not a loss.*loss_key"):
        weights(kind(), [sites(make, 4.0, 2.0)])


def test_replies_leave_the_disk_when_the_round_is_over(make: Any) -> None:
    seen: list[DiskReplies] = []

    class Watched(FedCostWAvg):
        def aggregate(self, replies: DiskReplies) -> dict[str, np.ndarray]:
            seen.append(replies)
            return super().aggregate(replies)

    play(Watched(loss_key="cost"), ZERO, [sites(make, 4.0, 2.0)])
    with pytest.raises(ValueError, match="closed file"):
        list(seen[0].columns())


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_types_of_other_widths_are_averaged(dtype: Any, make: Any) -> None:
    answers = {5: make.trained({"w": np.zeros(1, dtype)}, 1, cost=1.0), 6: make.trained({"w": np.ones(1, dtype)}, 3, cost=1.0)}
    (made,) = play(FedPIDAvg(loss_key="cost"), {"w": np.zeros(1, dtype)}, [lambda _: answers])
    assert (float(made["w"][0]), made["w"].dtype) == (0.75, dtype)


@pytest.mark.parametrize("kind", [FedCostWAvg, FedPIDAvg])
def test_costs_of_any_size_end_no_run(kind: Any, make: Any) -> None:
    made = weights(kind(loss_key="cost"), [sites(make, 1e308, 1e308), sites(make, 1e308, 0.0), sites(make, 0.0, 1e308)])
    assert all(0 <= weight <= 1 for weight in made)
