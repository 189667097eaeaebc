"""Building of a strategy that another installed package offers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields

from medfl.errors import ConfigError, MedflError, Problem
from medfl.errors.validation import suggest_key
from medfl.strategies.fedavg import FedAvg
from medfl.study import Study
from medfl.study.installed_strategies import offered_strategies, strategy_problems
from medfl.study.study_file import STUDY_FILE

StrategyFactory = Callable[[Study, int], FedAvg]  # of a study and the quorum; what a package offers under its entry point

_OWN_KEYWORDS = frozenset(each.name for each in fields(FedAvg))  # which other tables of a study decide, or nobody
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
        When no installed package offers it, it does not take one of the options, fails, or builds no `FedAvg`.
    """
    name, options = study.strategy.name, dict(study.strategy.options)
    if problems := strategy_problems(name):
        raise ConfigError(problems)
    factory = offered_strategies()[name].load()

    def refuse(keys: Iterable[str]) -> ConfigError:
        what = f"the strategy {name!r} of another installed package has no such option."
        valid = _list_options(factory, study, quorum) - {*common, *_OWN_KEYWORDS}
        return ConfigError([Problem(STUDY_FILE, f"strategy.options.{key}", what, suggest_key(key, valid)) for key in keys])

    if not _OWN_KEYWORDS.isdisjoint(options):
        raise refuse(key for key in options if key in _OWN_KEYWORDS)
    try:
        strategy = factory(study, quorum)
    except MedflError:
        raise
    except Exception as error:
        found = _BAD_KEYWORD.search(str(error))
        if found and found[1] in options:
            raise refuse(found.groups()) from None
        failed = f"the installed package that offers {name!r} could not build it: {type(error).__name__}: {error}."
        fix = "It is called as build(study, quorum), see docs/extend.md; ask its authors."
        raise ConfigError([Problem(STUDY_FILE, "strategy", failed, fix)]) from error
    if not isinstance(strategy, FedAvg):
        kind = type(strategy).__name__
        what = f"the installed package that offers {name!r} built a {kind}, expected a medfl.strategies.fedavg.FedAvg."
        raise ConfigError([Problem(STUDY_FILE, "strategy.name", what, "Ask its authors.")])
    if study.training.tunes_part and not _says_tunes_part(type(strategy)):
        what = f"the strategy {name!r} of another installed package does not say that it works where a part is trained alone."
        fix = "Train all, or ask its authors: its class must say 'tunes_part = True', see docs/extend.md."
        raise ConfigError([Problem(STUDY_FILE, "training.tune", what, fix)])
    return strategy


def _says_tunes_part(kind: type[FedAvg]) -> bool:
    """Return whether a class says by itself that it works on a part: what it inherits was said of another rule."""
    own = [each for each in kind.__mro__[: kind.__mro__.index(FedAvg)] if not each.__module__.startswith("medfl.")]
    return all(vars(each).get("tunes_part", False) for each in own[:1])


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
