"""The table of algorithms holds together, and what cannot be combined is refused with the reason."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import pytest

from medfl.clients.algorithms.algorithm_registry import CLIENT_ALGORITHMS
from medfl.errors import ConfigError
from medfl.strategies import FedAvg, strategy_registry
from medfl.strategies.strategy_registry import CLIENT_ONLY, STRATEGIES
from medfl.study.algorithms import (
    ADDITIONS,
    ALGORITHMS,
    MEAN_ALGORITHMS,
    PERSONAL_ALGORITHMS,
    addition_conflicts,
    contribution_conflicts,
)
from medfl.testing import sites

CODECS, FILTERS = ("bf16", "int8", "top-k"), ("clip-norm", "reject-factor")
SET: dict[str, dict[str, Any]] = {
    **{codec: {"compression": {"codec": codec}} for codec in CODECS},
    "clip-norm": {"filtering": {"clip-norm": 1.0}},
    "reject-factor": {"filtering": {"reject-factor": 3.0}},
    "norm": {"personal": {"layers": "norm"}},
    "head": {"personal": {"layers": "head"}},
    "fine-tune": {"personal": {"fine-tune-steps": 5}},
}
# What must not be combined, and a word of the reason.
REFUSED = {
    ("scaffold", "top-k"): "travels whole",
    ("scaffold", "clip-norm"): "pass at any length",
    ("scaffold", "reject-factor"): "pass at any length",
    ("feddyn", "top-k"): "drift",
    ("feddyn", "clip-norm"): "drift",
    ("cyclic", "top-k"): "missing for all that come after",
    ("cyclic", "reject-factor"): "no median",
    ("fedbuff", "reject-factor"): "no median",
    **{(robust, "top-k"): "medians" for robust in ("fedmedian", "fedtrimmedavg", "krum", "multikrum", "rfa")},
    **{(name, layer): "itself which layers" for name in ("fedbn", "fedper", "fedrep") for layer in ("norm", "head")},
    **{(name, layer): "of its own already" for name in ("ditto", "apfl") for layer in ("norm", "head")},
    **{(name, "fine-tune"): "own model" for name in ("ditto", "apfl")},
}


@pytest.mark.parametrize(("name", "addition"), list(itertools.product(ALGORITHMS, ADDITIONS)))
def test_every_combination_is_accepted_or_refused_for_its_reason(name: str, addition: str) -> None:
    reasons = list(addition_conflicts(name, (addition,)))
    if (name, addition) in REFUSED:
        (reason,) = reasons
        assert reason.startswith(f"{addition!r} cannot be combined with {name!r}: ")
        assert REFUSED[name, addition] in reason
    else:
        assert reasons == []


def test_two_filters_are_one_too_many() -> None:
    (reason,) = addition_conflicts("fedavg", ("int8", *FILTERS))
    assert "compared after clipping" in reason
    assert list(addition_conflicts("somebody-elses", ("top-k", "norm"))) == []


@pytest.mark.parametrize("addition", ADDITIONS)
def test_a_study_knows_its_additions_and_is_refused_with_the_reason(addition: str) -> None:
    assert sites.make_study(**SET[addition]).additions == (addition,)
    name = next(name for name, refused in REFUSED if refused == addition) if any(w == addition for _, w in REFUSED) else ""
    if name:
        sgd = {"optimizer": {"name": "sgd"}} if name == "scaffold" else {}
        with pytest.raises(ConfigError, match=f"'{addition}' cannot be combined with '{name}'"):
            sites.make_study(strategy={"name": name}, **SET[addition], **sgd)


def test_mean_models_can_be_rebuilt_for_fewer_sites_and_others_not() -> None:
    assert [list(contribution_conflicts("fedavg", m)) for m in ("none", "alignment", "leave-one-out", "shapley")] == [[]] * 4
    assert list(contribution_conflicts("krum", "alignment")) == []
    for name in set(ALGORITHMS) - set(MEAN_ALGORITHMS):
        (reason,) = contribution_conflicts(name, "shapley")
        assert name in reason
    assert "do not start from one model" in next(contribution_conflicts("cyclic", "alignment"))
    assert "not known" in next(contribution_conflicts("somebody-elses", "leave-one-out"))
    assert set(MEAN_ALGORITHMS) <= set(ALGORITHMS)
    with pytest.raises(ConfigError, match=r"contribution.method: 'shapley' makes .* take 'alignment'"):
        sites.make_study(strategy={"name": "rfa"}, contribution={"method": "shapley"})


def test_the_table_speaks_of_what_there_is() -> None:
    assert set(STRATEGIES) | CLIENT_ONLY <= set(ALGORITHMS)
    assert not set(STRATEGIES) & CLIENT_ONLY
    assert set(CLIENT_ALGORITHMS) <= set(ALGORITHMS)
    assert set(PERSONAL_ALGORITHMS) <= set(ALGORITHMS)
    for name, algorithm in ALGORITHMS.items():
        assert set(algorithm.incompatible) <= set(ADDITIONS), name
        assert algorithm.idea.endswith("."), name
        assert "https://" in algorithm.paper, name


@pytest.mark.parametrize("name", CLIENT_ALGORITHMS)
def test_options_of_a_study_are_the_keyword_arguments_of_the_client_algorithm(name: str) -> None:
    wanted, taken = ALGORITHMS[name].options.model_fields, inspect.signature(CLIENT_ALGORITHMS[name]).parameters
    assert {key: parameter.default for key, parameter in taken.items()} == {k: field.default for k, field in wanted.items()}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_study_passes_every_option_to_the_strategy_whatever_the_default_of_the_class(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: dict[str, Any] = {}

    def build(**keywords: Any) -> FedAvg:
        passed.update(keywords)
        return FedAvg()

    monkeypatch.setattr(strategy_registry, "STRATEGIES", {name: build})
    study = sites.make_study(strategy={"name": name}, optimizer={"name": "sgd"})
    strategy_registry.build_strategy(study, 1)
    names = strategy_registry.KEYWORDS.get(name, {})
    options = ALGORITHMS[name].options().model_dump()
    assert options.items() <= {option: passed[names.get(option, option)] for option in options}.items()
    assert set(passed) <= set(inspect.signature(STRATEGIES[name]).parameters)


def test_shares_of_more_than_the_whole_are_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"strategy.options.*'alpha' and 'beta' may be at most 1 together, came 1.2"):
        sites.make_study(strategy={"name": "fedpidavg", "options": {"alpha": 0.6, "beta": 0.6}})
