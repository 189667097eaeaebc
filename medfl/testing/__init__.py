"""Contract tests for other people's strategies and client algorithms.

They are the tests that medfl's own algorithms pass::

    from medfl.testing import ClientAlgorithmContract, StrategyContract

    class TestMyStrategy(StrategyContract):
        build = MyStrategy

    class TestMyClient(ClientAlgorithmContract):
        build = MyClient

`docs/extend.md` has a whole example. Needs pytest.
"""

import pytest

pytest.register_assert_rewrite("medfl.testing.algorithm_contract", "medfl.testing.strategy_contract")

from medfl.testing.algorithm_contract import ClientAlgorithmContract  # noqa: E402
from medfl.testing.fake_grid import FakeGrid  # noqa: E402 (after the line above, so that failures show their values)
from medfl.testing.strategy_contract import StrategyContract  # noqa: E402

__all__ = ["ClientAlgorithmContract", "FakeGrid", "StrategyContract"]
