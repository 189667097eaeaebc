"""Contract tests for other people's strategies and client algorithms.

They are the tests that medfl's own algorithms pass::

    from medfl.testing import ClientAlgorithmContract, StrategyContract

    class TestMyStrategy(StrategyContract):
        build = MyStrategy

    class TestMyClient(ClientAlgorithmContract):
        build = MyClient

`docs/extend.md` has a whole example. Needs pytest. Each is imported when asked for: those of a strategy need no torch.
"""

from typing import TYPE_CHECKING

import pytest

from medfl.system.lazy_exports import export_lazily

if TYPE_CHECKING:
    from medfl.testing.algorithm_contract import ClientAlgorithmContract
    from medfl.testing.fake_grid import FakeGrid
    from medfl.testing.strategy_contract import StrategyContract

__all__ = [
    "ClientAlgorithmContract",
    "FakeGrid",
    "StrategyContract",
]

_MODULES = {
    "ClientAlgorithmContract": "medfl.testing.algorithm_contract",
    "FakeGrid": "medfl.testing.fake_grid",
    "StrategyContract": "medfl.testing.strategy_contract",
}
pytest.register_assert_rewrite(*_MODULES.values())  # before their import, so that failures show their values
if not TYPE_CHECKING:  # or a misspelt name would pass for one that is there
    __getattr__, __dir__ = export_lazily(__name__, _MODULES)
