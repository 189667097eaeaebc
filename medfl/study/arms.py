"""Arms of a comparison: the ways in which a run trains the model of a study, or asks the models that others trained."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated

from pydantic import AfterValidator

from medfl.schema import Strings

ARMS = ("federated", "local", "pooled", "ensemble", "fine-tuned")
OWN_MODEL_ARMS = ("local", "fine-tuned")  # in which each site has a model of its own
ARM_NEEDS = {"ensemble": "local", "fine-tuned": "federated"}  # the arm whose models an arm begins with
ARM_TITLES = {
    "federated": "together",
    "local": "each alone",
    "pooled": "in one place",
    "ensemble": "the local models together",
    "fine-tuned": "together, then each alone",
}
SIMULATED_ARMS = {  # which no real federation has, and why
    "pooled": "the arm 'pooled' trains on the patients of all hospitals in one place; no patient leaves a real hospital.",
    "ensemble": "the arm 'ensemble' asks the own models of all hospitals for every patient; no hospital gives its own away.",
    "fine-tuned": "the arm 'fine-tuned' is for simulations; in a federation personal.fine-tune-steps tunes the model.",
}


def _check_arms(arms: tuple[str, ...]) -> tuple[str, ...]:
    if not arms or set(arms) - set(ARMS) or len(set(arms)) < len(arms):
        raise ValueError(f"may hold {', '.join(ARMS)}, each once")
    return arms


Arms = Annotated[Strings, AfterValidator(_check_arms)]


def missing_arms(arms: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each arm whose models do not come from themselves, with the arm that it begins with and that is not there.

    Examples
    --------
    >>> list(missing_arms(["federated", "ensemble"]))
    [('ensemble', 'local')]
    """
    return ((arm, needed) for arm in arms if (needed := ARM_NEEDS.get(arm)) and needed not in arms)


def arm_problems(arms: Collection[str], rounds: int, fine_tune_rounds: int) -> Iterator[str]:
    """Yield what is wrong with the arms of a study, each with the key that it concerns."""
    yield from (f"arms: {arm!r} begins with the models of {needed!r}; name both" for arm, needed in missing_arms(arms))
    if fine_tune_rounds > rounds:
        yield f"personal.fine-tune-rounds: may be {rounds} at most, the rounds of the study"
