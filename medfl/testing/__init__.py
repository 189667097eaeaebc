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

import lazy_loader
import pytest

if TYPE_CHECKING:
    from medfl.testing.algorithm_contract import ClientAlgorithmContract
    from medfl.testing.fake_grid import FakeGrid
    from medfl.testing.strategy_contract import StrategyContract

__all__ = [
    "ClientAlgorithmContract",
    "FakeGrid",
    "StrategyContract",
]

_EXPORTS = {
    "algorithm_contract": ("ClientAlgorithmContract",),
    "fake_grid": ("FakeGrid",),
    "strategy_contract": ("StrategyContract",),
}
# Before their import, so that failures show their values
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _EXPORTS))
if not TYPE_CHECKING:  # or a misspelt name would pass for one that is there
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_EXPORTS)
