"""Cyclic weight transfer: the model goes from site to site, past those that fail."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from medfl.errors import QuorumError
from medfl.grids.streaming import StreamingGrid
from medfl.messages.records import to_array_record
from medfl.strategies.cyclic import Cyclic
from medfl.strategies.fedbuff import FedBuff
from medfl.strategies.transforms.norm_filters import NormOutlierFilter
from medfl.strategies.transforms.update_decoding import Bf16, Int8, TopK
from tests.strategies.packing import packed
from tests.strategies.rounds import read

SITES = {5: "aachen", 6: "bergen", 7: "cadiz"}
ZERO = {"w": np.zeros(1), "n": np.array(0)}


def times_ten_plus(digit: int, make: Any) -> Any:
    """Return a site that writes its digit behind those of the sites before it."""

    def answer(message: Message) -> Message:
        model = read(message.content["arrays"])
        return make.trained({"w": model["w"] * 10 + digit, "n": model["n"] + 1}, 1)(message)

    return answer


def circle(strategy: Cyclic, grid: Any, server_round: int = 1, arrays: ArrayRecord | None = None) -> dict[str, np.ndarray]:
    grid = StreamingGrid(grid)
    messages = strategy.configure_train(server_round, arrays or to_array_record(ZERO), ConfigRecord({"lr": 0.1}), grid)
    return read(strategy.aggregate_train(server_round, grid.send_and_receive(messages, timeout=0.1))[0])


def test_each_site_goes_on_from_the_one_before(fake: Any, make: Any) -> None:
    grid = fake({node: times_ten_plus(k, make) for k, node in enumerate(SITES, start=1)})
    strategy = Cyclic(order="name", site_names=SITES, hop_timeout=0.1)
    made = circle(strategy, grid)
    assert made["w"][0] == 123
    assert made["n"] == 3
    assert [m.metadata.dst_node_id for m in grid.messages] == [5, 6, 7]
    assert all(dict(m.content["config"]) == {"lr": 0.1, "server-round": 1} for m in grid.messages)
    assert [r.status for r in strategy.last_round.replies] == ["ok"] * 3
    one_way = to_array_record(ZERO).count_bytes()
    assert 3 * one_way < strategy.last_round.bytes_up


def test_a_site_that_fails_is_passed_over(fake: Any, make: Any) -> None:
    wrong = make.trained({"w": np.zeros(4), "n": np.array(0)}, 1)
    grid = fake({5: times_ten_plus(1, make), 6: make.failed(8, "x"), 7: wrong, 8: lambda _: None, 9: times_ten_plus(5, make)})
    strategy = Cyclic(order="name", site_names=SITES | {8: "derby", 9: "essen"}, hop_timeout=0.05)
    assert circle(strategy, grid)["w"][0] == 15
    assert [r.status for r in strategy.last_round.replies] == ["ok", "failed", "refused", "late", "ok"]


def test_when_nobody_answers_the_round_fails(fake: Any, make: Any) -> None:
    with pytest.raises(QuorumError, match="QUORUM"):
        circle(Cyclic(hop_timeout=0.05), fake({5: make.failed(8, "x"), 6: make.contents(RecordDict())}))


def test_the_order_is_of_seed_and_round_and_names(fake: Any, make: Any) -> None:
    def order(names: dict[int, str], seed: int, server_round: int) -> list[str]:
        grid = fake({node: times_ten_plus(1, make) for node in sorted(names)})
        circle(Cyclic(seed=seed, site_names=names, hop_timeout=0.1), grid, server_round)
        return [names[m.metadata.dst_node_id] for m in grid.messages]

    there, back = dict(zip((1, 2, 3, 4), "abcd", strict=True)), dict(zip((4, 3, 2, 1), "abcd", strict=True))
    assert order(there, 1, 1) == order(back, 1, 1)
    assert len({tuple(order(there, seed, n)) for seed in (1, 2) for n in (1, 2, 3)}) > 3


def test_it_runs_whole_in_any_flower_app(fake: Any, make: Any) -> None:
    grid = fake({node: times_ten_plus(k, make) for k, node in enumerate(SITES, start=1)})
    result = Cyclic(order="name", fraction_evaluate=0.0, hop_timeout=0.1).start(grid, to_array_record(ZERO), num_rounds=2)
    assert read(result.arrays)["w"][0] == 123123


@pytest.mark.parametrize("codec", [Bf16, Int8, TopK])
def test_an_update_that_came_packed_is_one_of_the_model_before(codec: Any, fake: Any, make: Any) -> None:
    zero = {"w": np.zeros(2, np.float32)}

    def adds(number: float) -> Any:
        def answer(message: Message) -> Message:
            received = read(message.content["arrays"])
            small = packed(codec.__name__.lower().replace("topk", "top-k"), {"w": received["w"] + number}, received)
            return make.trained(dict(small), 1)(message)

        return answer

    transform = TopK(1.0) if codec is TopK else codec()
    strategy = Cyclic(order="name", site_names=SITES, hop_timeout=0.1, transforms=[transform])
    made = circle(strategy, fake({5: adds(1), 6: adds(2), 7: adds(4)}), arrays=to_array_record(zero))
    np.testing.assert_allclose(made["w"], 7, rtol=1e-6)
    assert made["w"].dtype == np.float32


def test_one_model_is_held_however_many_sites_there_are(fake: Any, make: Any) -> None:
    alive: list[weakref.ref[ArrayRecord]] = []

    def answer(message: Message) -> Message:
        alive.append(weakref.ref(message.content["arrays"]))
        return times_ten_plus(1, make)(message)

    grid = fake(dict.fromkeys(SITES, answer))
    strategy = Cyclic(order="name", site_names=SITES, hop_timeout=0.1)
    initial = to_array_record(ZERO)
    circle(strategy, grid, arrays=initial)
    assert [ref() for ref in alive[1:]] == [None, None]


def test_a_late_hop_is_no_old_message(fake: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = fake({node: times_ten_plus(k, make) for k, node in enumerate(SITES, start=1)})
    monkeypatch.setattr("medfl.strategies.cyclic.time.time", lambda: 4e9)
    circle(Cyclic(order="name", site_names=SITES, hop_timeout=0.1), grid)
    assert [m.metadata.created_at == 4e9 for m in grid.messages] == [False, True, True]


@pytest.mark.parametrize("kind", [Cyclic, FedBuff])
def test_updates_without_a_common_start_are_not_compared(kind: Any) -> None:
    with pytest.raises(ValueError, match="takes no transform that compares"):
        kind(transforms=[NormOutlierFilter(3.0)])


def test_a_circle_ends_as_soon_as_it_cannot_count(fake: Any, make: Any) -> None:
    grid = fake({5: times_ten_plus(1, make), 6: make.failed(8, "x"), 7: times_ten_plus(3, make)})
    strategy = Cyclic(order="name", site_names=SITES, quorum=3, hop_timeout=0.1)
    with pytest.raises(
        QuorumError, match=r"1 of 3 replies .*cadiz: late, \[NO-REPLY\] .* the circle had ended before its turn"
    ):
        circle(strategy, grid)
    assert [m.metadata.dst_node_id for m in grid.messages] == [5, 6]  # the third is asked once it gets a model that counts
