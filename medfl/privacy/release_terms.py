"""The terms of a policy that decide what of an answer leaves: an answer that is kept belongs to those it was computed under.

Computing it anew under others would tell something by the difference of the two, and giving it all the same would ignore what
the hospital decided since. So a kept answer under other terms is not given, and what was told is counted by the terms it left
under. How an answer leaves, at once or by hand, is kept with them, but is no difference of what is in it.
"""

from __future__ import annotations

import json

from medfl.errors import PolicyError
from medfl.privacy.questions import Item
from medfl.site import Policy

_IN_ANSWER = frozenset({"scores", "score_noise", "min_count", "metrics"})
_RELEASE = "release"


def release_terms(policy: Policy) -> str:
    """Return the terms of a policy that decide what of an answer leaves, as the ledger keeps them."""
    return json.dumps(policy.model_dump(mode="json", include={*_IN_ANSWER, _RELEASE}), sort_keys=True)


def policy_of(terms: str, today: Policy) -> Policy:
    """Return today's policy with the terms of before; where none are known, it is today's alone."""
    then = {key: tuple(value) if isinstance(value, list) else value for key, value in _read(terms).items()}
    return today.model_copy(update=then)


def is_by_hand(terms: str) -> bool:
    """Return whether an answer under these terms waited, or waits, for a person."""
    return _read(terms).get(_RELEASE) == "by-hand"


def check_terms(item: Item, then: str, now: str) -> None:
    """Raise ``NOT-ANSWERED`` when an answer was computed under other terms than those of today.

    Parameters
    ----------
    item : Item
        What was asked.
    then, now : str
        Terms as of `release_terms`.
    """
    before, today = _read(then), _read(now)
    changed = sorted(key for key in _IN_ANSWER if before.get(key) != today.get(key))
    if changed:
        names = ", ".join(key.replace("_", "-") for key in changed)
        what = f"the answer that is kept to {item.kind} was computed under another policy: {names} differed."
        fix = "It is neither given nor computed anew. The run goes on with its next round; to repeat this, restore the policy."
        raise PolicyError("NOT-ANSWERED", what, fix)


def _read(terms: str) -> dict[str, object]:
    values = json.loads(terms) if terms else {}
    return values if isinstance(values, dict) else {}
