"""Specifications of the strategies that `medfl sweep` compares: a strategy, its options, and its additions.

========================  ==============================================================
``fedprox``               the strategy with the options that the study gives it, if any
``fedadam:tau=0.1``       with options; several follow each other: ``:beta1=0.8:tau=0.1``
``fedavg+int8``           with an addition; several follow each other: ``+norm+int8``
``fedavg+top-k=0.05``     with a value for the addition
``local``                 no strategy: every hospital trains alone
========================  ==============================================================
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from medfl.errors import ConfigError, Problem
from medfl.errors.validation import did_you_mean
from medfl.study.algorithms import ADDITIONS
from medfl.study.study_file import Scalar

LOCAL = "local"
_ARMS_WITHOUT_STRATEGY = ("local", "pooled", "ensemble")
_LOCAL_LAYERS = ("norm", "head")
_CODECS = ("bf16", "int8", "top-k")
_VALUE_KEYS = {  # additions that take a value: its key in the study
    "top-k": "compression.keep",
    "clip-norm": "filtering.clip-norm",
    "reject-factor": "filtering.reject-factor",
    "fine-tune": "personal.fine-tune-steps",
}


@dataclass(frozen=True)
class StrategySpec:
    """Strategy that a sweep compares with others, with its settings.

    Parameters
    ----------
    text : str
        The specification as it was written.
    name : str
        Name of the strategy, or `LOCAL`.
    overrides : mapping of str to scalar
        Dotted keys of the study, with the values that it stands for.
    """

    text: str
    name: str
    overrides: Mapping[str, Scalar] = field(hash=False)

    @property
    def title(self) -> str:
        """The specification in a form for people: ``fedprox mu=0.1 + int8``."""
        return re.sub(r"\+(?=[a-z])", " + ", self.text.replace(":", " "))


def parse_strategy_specs(texts: Sequence[str]) -> tuple[list[StrategySpec], list[Problem]]:
    """Read the specifications of a sweep. The study checks later whether their strategies and options exist.

    Parameters
    ----------
    texts : sequence of str
        One for each strategy, in the form shown at the top of this module.

    Returns
    -------
    specs : list of StrategySpec
        Specifications that can be read.
    problems : list of Problem
        Reasons why the others cannot be read.

    Examples
    --------
    >>> [spec], _ = parse_strategy_specs(["fedprox:mu=0.1+int8"])
    >>> dict(spec.overrides)
    {'strategy.name': 'fedprox', 'strategy.options.mu': 0.1, 'compression.codec': 'int8'}
    """
    specs: list[StrategySpec] = []
    problems: list[Problem] = []
    for text in dict.fromkeys(texts):
        try:
            specs.append(_parse_spec(text))
        except ConfigError as error:
            problems += error.problems
    problems += [_problem(text, "it is named twice.") for text in dict.fromkeys(texts) if texts.count(text) > 1]
    if not texts:
        problems.append(
            _problem("(empty)", "no strategy is named.", "Name some, such as fedavg,fedprox:mu=0.1,fedavg+int8,local.")
        )
    return specs, problems


def specs_of_arms(specs: Sequence[StrategySpec], arms: Sequence[str]) -> list[StrategySpec]:
    """Return the specifications of a comparison: each strategy with the arms that it makes, and one run of all other arms.

    Parameters
    ----------
    specs : sequence of StrategySpec
        The federated strategies.
    arms : sequence of str
        Arms that are compared.

    Examples
    --------
    >>> specs, _ = parse_strategy_specs(["fedavg"])
    >>> [(spec.name, spec.overrides["arms"]) for spec in specs_of_arms(specs, ["federated", "local", "pooled", "fine-tuned"])]
    [('fedavg', 'federated,fine-tuned'), ('local', 'local,pooled')]
    """
    others = ",".join(arm for arm in arms if arm in _ARMS_WITHOUT_STRATEGY)
    federated = ",".join(arm for arm in arms if arm not in _ARMS_WITHOUT_STRATEGY)
    found = [replace(spec, overrides={**spec.overrides, "arms": federated}) for spec in specs] if federated else []
    return [*found, *([StrategySpec(others, LOCAL, {"arms": others})] if others else [])]


def _parse_spec(text: str) -> StrategySpec:
    base, *additions = re.split(r"\+(?=[a-z])", text)  # not the plus of 1e+3
    name, *options = base.split(":")
    if name == LOCAL:
        if options or additions:
            raise ConfigError([_problem(text, "'local' takes neither options nor additions: nothing is exchanged.")])
        return StrategySpec(text, LOCAL, {"arms": name})
    problems: list[Problem] = []
    overrides: dict[str, Scalar] = {"strategy.name": name}
    for parsed in (*_parse_options(text, options), *_parse_additions(text, additions)):
        if isinstance(parsed, Problem):
            problems.append(parsed)
        else:
            overrides |= parsed
    if problems:
        raise ConfigError(problems)
    return StrategySpec(text, name, overrides)


def _parse_options(text: str, options: Sequence[str]) -> Iterator[dict[str, Scalar] | Problem]:
    for option in options:
        key, _, written = option.partition("=")
        value = _parse_scalar(written)
        if value is None:
            yield _problem(text, f"{option!r} is not of the form option=value.")
        else:
            yield {f"strategy.options.{key}": value}


def _parse_additions(text: str, additions: Sequence[str]) -> Iterator[dict[str, Scalar] | Problem]:
    if layers := [addition for addition in additions if addition in _LOCAL_LAYERS]:
        yield {"personal.layers": ",".join(layers)}
    if len(codecs := [each for each in additions if each.partition("=")[0] in _CODECS]) > 1:
        yield _problem(text, f"an update can be compressed in one way only, not by {' and '.join(codecs)}.")
    for addition in additions:
        name, _, written = addition.partition("=")
        value = _parse_scalar(written)
        if name not in ADDITIONS:
            valid = f"{did_you_mean(name, ADDITIONS)} Valid ones: {', '.join(sorted(ADDITIONS))}."
            yield _problem(text, f"there is no addition {name!r}.", valid.strip())
        elif written and (value is None or name not in _VALUE_KEYS):
            yield _problem(text, f"{name!r} takes {'a number' if name in _VALUE_KEYS else 'no value'}, not {written!r}.")
        elif name in _VALUE_KEYS and name not in _CODECS and not written:
            yield _problem(text, f"{name!r} needs a number.", f"Write it as {name}=5.")
        else:
            codec: dict[str, Scalar] = {"compression.codec": name} if name in _CODECS else {}
            yield codec if value is None else codec | {_VALUE_KEYS[name]: value}


def _parse_scalar(text: str) -> Scalar | None:
    """Read a number, true, false, or a bare word; return None for anything else."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text if re.fullmatch(r"[A-Za-z][\w-]*", text) else None
    return value if isinstance(value, bool | int | float | str) else None


def _problem(text: str, what: str, fix: str = "") -> Problem:
    return Problem("--strategies", text, what, fix)
