"""A hospital's policy, held against what a study asks for and what a server sends. Neither can loosen it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatchcase

from medfl.errors import PolicyError
from medfl.messages import records
from medfl.messages.records import Metrics, MetricValue
from medfl.privacy.suppression import suppress_all
from medfl.site.policy import Policy
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS
from medfl.system.text import format_bytes

Violation = tuple[str, str]  # code, and what is wrong


def check_study(study: Study, policy: Policy) -> None:
    """Check what a study says before anything of it is done.

    Raises
    ------
    PolicyError
        With the code of the first rule that is broken, and all of them in its text.
    """
    broken = list(find_violations(study, policy))
    if broken:
        code, _ = broken[0]
        raise PolicyError(
            code, " ".join(what for _, what in broken), "Talk to the planners of the study, or change the policy."
        )


def find_violations(study: Study, policy: Policy) -> Iterator[Violation]:
    """Yield every rule of a policy that a study breaks: its code, and what the study asks for."""
    kind, modality = study.task.kind, study.task.modality
    if policy.tasks and kind not in policy.tasks:
        yield "POLICY-TASK", f"The study is a {kind}; allowed: {', '.join(policy.tasks)}."
    if policy.modalities and modality not in policy.modalities:
        yield "POLICY-MODALITY", f"The study is of {modality}; allowed: {', '.join(policy.modalities)}."
    if 0 < policy.max_rounds < study.rounds:
        yield "POLICY-ROUNDS", f"The study has {study.rounds} rounds; at most {policy.max_rounds} are allowed."
    yield from _workload_rules(study, policy)
    if study.min_quorum < policy.min_sites:
        yield (
            "POLICY-QUORUM",
            f"The study promises a quorum of {study.min_quorum}; at least {policy.min_sites} is asked.",
        )
    missing = [name for name in policy.require if name not in _protections(study)]
    if missing:
        yield "POLICY-PROTECTION", f"The study has no {' and no '.join(missing)}, which this site asks for."
    name = study.strategy.name
    if name not in ALGORITHMS and name not in policy.extensions:
        yield "POLICY-EXTENSION", f"The algorithm {name!r} is of another package, and not among 'policy.extensions'."


def check_round(study: Study, policy: Policy, server_round: int) -> None:
    """Raise PolicyError ``POLICY-ROUNDS`` for a round that the study does not have, or the site does not allow."""
    most = min(study.rounds, policy.max_rounds or study.rounds)
    if not 1 <= server_round <= most:
        what = f"the server asks for round {server_round}; there are {most}."
        raise PolicyError("POLICY-ROUNDS", what, "The server goes beyond the study.")


def check_hours(policy: Policy, now: datetime) -> None:
    """Raise PolicyError ``POLICY-HOURS`` outside of the hours in which a site works.

    Parameters
    ----------
    policy : Policy
        Of the site.
    now : datetime
        Local time.

    Examples
    --------
    >>> check_hours(Policy(hours="19:00-06:30"), datetime(2026, 1, 1, 6, 29))
    """
    if not policy.hours:
        return
    begin, end = policy.hours.split("-")
    clock = f"{now:%H:%M}"
    inside = begin <= clock < end if begin <= end else clock >= begin or clock < end
    if not inside:
        what = f"it is {clock}, and this site works from {begin} to {end}."
        raise PolicyError("POLICY-HOURS", what, "The server may ask again then.")


def check_patients(policy: Policy, patients: int) -> None:
    """Raise PolicyError ``POLICY-PATIENTS`` when a site has fewer training patients than it asks of itself."""
    if patients < policy.min_patients:
        what = f"{patients} training patients are fewer than the {policy.min_patients} of 'policy.min-patients'."
        raise PolicyError("POLICY-PATIENTS", what, "Add patients, or decline the study.")


def check_reply_size(policy: Policy, count: int) -> None:
    """Raise PolicyError ``POLICY-BYTES`` when a reply is larger than a site lets out.

    Parameters
    ----------
    policy : Policy
        Of the site.
    count : int
        Bytes of all records of the reply.
    """
    most = policy.max_megabytes
    if most and count > most * 1e6:
        what = f"the reply has {format_bytes(count)}; at most {format_bytes(most * 1e6)} may leave in one."
        raise PolicyError("POLICY-BYTES", what, "See 'policy.max-megabytes'.")


def check_weight(policy: Policy) -> None:
    """Raise PolicyError ``POLICY-METRICS`` when the one number that a training reply cannot do without may not leave."""
    if not _is_allowed(policy, records.TRAIN_PATIENTS):
        what = "the number of training patients may not leave, and it is the weight of a training reply."
        raise PolicyError("POLICY-METRICS", what, f"Add {records.TRAIN_PATIENTS} to 'policy.metrics', or decline the study.")


def redact(metrics: Metrics, policy: Policy) -> Metrics:
    """Return metrics with those emptied that may not leave; the keys stay, as every site must send the same.

    Scores leave all together or not at all, since each is made of several numbers: one that may not leave keeps the others
    here, and they are told as hidden, just as those over too few patients.
    """
    scores = [key for key in metrics if key.startswith("eval.")]
    told = {
        key: value if key in scores or _is_allowed(policy, key) else _redacted_value(value) for key, value in metrics.items()
    }
    return (
        told if all(_is_allowed(policy, key) for key in scores) else told | suppress_all({key: metrics[key] for key in scores})
    )


def _workload_rules(study: Study, policy: Policy) -> Iterator[Violation]:
    algorithm = ALGORITHMS.get(study.strategy.name)
    factor = max(1.0, algorithm.factor(1)) if algorithm else 1.0  # a model of the site's own is trained beside, say
    epochs, steps = math.ceil(study.training.local_epochs * factor), math.ceil(study.training.local_steps * factor)
    if 0 < policy.max_local_epochs < epochs and not steps:
        yield "POLICY-EPOCHS", f"The study trains {epochs} epochs a round; at most {policy.max_local_epochs} are allowed."
    if 0 < policy.max_local_steps < steps:
        yield "POLICY-STEPS", f"The study trains {steps} steps a round; at most {policy.max_local_steps} are allowed."
    tuning = study.personal.fine_tune_steps
    if 0 < policy.max_local_steps < tuning:
        yield "POLICY-STEPS", f"The study fine-tunes for {tuning} steps; at most {policy.max_local_steps} are allowed."
    if policy.max_local_epochs and (steps or tuning) and not policy.max_local_steps:
        yield "POLICY-STEPS", "The study counts in steps, for which this site has no ceiling: set 'policy.max-local-steps'."
    if policy.max_local_steps and not steps and not policy.max_local_epochs:
        yield "POLICY-EPOCHS", "The study counts in epochs, for which this site has no ceiling: set 'policy.max-local-epochs'."


def _protections(study: Study) -> frozenset[str]:
    """Return the protections that a study has; there is none yet that a study could ask for."""
    return frozenset()


def _is_allowed(policy: Policy, key: str) -> bool:
    return not policy.metrics or any(fnmatchcase(key, pattern) for pattern in policy.metrics)


def _redacted_value(value: MetricValue) -> MetricValue:
    if isinstance(value, list):
        return [0.0 for _ in value]
    return 0 if isinstance(value, int) else math.nan
