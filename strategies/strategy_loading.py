"""Building of a strategy that another installed package offers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection

from medfl.errors import ConfigError, Problem
from medfl.schema import suggest_key
from medfl.strategies.fedavg import FedAvg
from medfl.study import Study
from medfl.study.installed_strategies import offered_strategies, strategy_problems
from medfl.study.study_file import STUDY_FILE

StrategyFactory = Callable[[Study, int], FedAvg]  # of a study and the quorum; what a package offers under its entry point

_BAD_KEYWORD = re.compile(r"(?:unexpected keyword argument|multiple values for keyword argument) '([^']+)'")


def load_strategy(study: Study, quorum: int, common: Collection[str]) -> FedAvg:
    """Build the strategy that a study names from the installed package that offers it.

    Parameters
    ----------
    study : Study
        Its table ``strategy`` names the strategy and its options.
    quorum : int
        Replies that a round needs to count.
    common : collection of str
        Keyword arguments that other tables of the study give to every strategy.

    Raises
    ------
    ConfigError
        When no installed package offers it, it does not take one of the options, or it is no `FedAvg`.
    """
    name = study.strategy.name
    if problems := strategy_problems(name):
        raise ConfigError(problems)
    factory = offered_strategies()[name].load()
    try:
        strategy = factory(study, quorum)
    except TypeError as error:
        found = _BAD_KEYWORD.search(str(error))
        if not found or found[1] not in dict(study.strategy.options):
            raise
        hint = suggest_key(found[1], _list_options(factory, study, quorum) - set(common))
        what = f"the strategy {name!r} of another installed package has no such option."
        raise ConfigError([Problem(STUDY_FILE, f"strategy.options.{found[1]}", what, hint)]) from None
    if not isinstance(strategy, FedAvg):
        kind = type(strategy).__name__
        what = f"the installed package that offers {name!r} built a {kind}, expected a medfl.strategies.fedavg.FedAvg."
        raise ConfigError([Problem(STUDY_FILE, "strategy.name", what, "Ask its authors.")])
    return strategy


def _list_options(factory: StrategyFactory, study: Study, quorum: int) -> set[str]:
    """Return the keyword arguments of the class that a factory builds; none when it builds nothing without options."""
    plain = study.model_copy(update={"strategy": study.strategy.model_copy(update={"options": ()})})
    try:
        kinds = type(factory(plain, quorum)).__mro__
    except Exception:  # code of another package, called for a hint alone
        return set()
    own = kinds[: kinds.index(FedAvg)] if FedAvg in kinds else kinds[:1]
    keywords = [each for kind in own if "__init__" in vars(kind) for each in inspect.signature(kind).parameters.values()]
    return {each.name for each in keywords if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)}
