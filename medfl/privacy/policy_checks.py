"""Checks of a site's policy against what a study asks for, what a server sends, and what would leave."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatchcase

from medfl.errors import PolicyError
from medfl.messages import records
from medfl.messages.records import Metrics
from medfl.privacy.questions import count_questions
from medfl.privacy.score_rounding import count_trained
from medfl.privacy.suppression import hide_number, suppress_all
from medfl.site import Policy
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS, LOSS_ALGORITHMS
from medfl.system.text import format_bytes

Violation = tuple[str, str]  # code, and what is wrong


def check_study(study: Study, policy: Policy) -> None:
    """Check a study before anything is done for it.

    Raises
    ------
    PolicyError
        If a rule is broken, with the code of the first such rule, and all of them in its text.
    """
    violations = list(find_violations(study, policy))
    if violations:
        code, _ = violations[0]
        raise PolicyError(
            code, " ".join(what for _, what in violations), "Talk to the planners of the study, or change the policy."
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
    if 0 < policy.max_questions < (questions := count_questions(study)):
        what = f"The study asks up to {questions} questions in a run; at most {policy.max_questions} are allowed."
        yield "POLICY-QUESTIONS", what
    yield from _workload_rules(study, policy)
    if study.min_quorum < policy.min_sites:
        yield (
            "POLICY-QUORUM",
            f"The study promises a quorum of {study.min_quorum}; at least {policy.min_sites} is required.",
        )
    missing = [name for name in policy.require if name not in _protections(study)]
    if missing:
        yield "POLICY-PROTECTION", f"The study has no {' and no '.join(missing)}, which this site requires."
    name = study.strategy.name
    if name in LOSS_ALGORITHMS and not may_tell_losses(study, policy):
        yield (
            "POLICY-METRICS",
            f"The algorithm {name!r} weighs hospitals by training losses, and the policy lets none out: by 'scores', by "
            f"'score-noise', or because a round trains on fewer images than 'min-count'.",
        )
    if name not in ALGORITHMS and name not in policy.extensions:
        yield "POLICY-EXTENSION", f"The algorithm {name!r} comes from another package, and is not in 'policy.extensions'."


def may_tell_losses(study: Study, policy: Policy) -> bool:
    """Say whether training losses may leave: not those of a round of so few steps that few patients can be behind them."""
    if policy.scores == "none" or policy.score_noise:
        return False
    return policy.scores == "exact" or count_trained(study, policy.min_count) == policy.min_count


def check_round(study: Study, policy: Policy, server_round: int) -> None:
    """Raise PolicyError ``QUESTION-UNKNOWN`` for a round that the study lacks, ``POLICY-ROUNDS`` beyond the site's limit."""
    if not 1 <= server_round <= study.rounds:
        what = f"the server asks for round {server_round}, and the study has {study.rounds}."
        raise PolicyError("QUESTION-UNKNOWN", what, "The server goes beyond the study.")
    if 0 < policy.max_rounds < server_round:
        what = f"the server asks for round {server_round}, and {policy.max_rounds} are allowed."
        raise PolicyError("POLICY-ROUNDS", what, "The server goes beyond the study.")


def check_hours(policy: Policy, now: datetime) -> None:
    """Raise PolicyError ``POLICY-HOURS`` outside of the hours in which a site answers.

    Parameters
    ----------
    policy : Policy
        Policy of the site.
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
        raise PolicyError("POLICY-HOURS", what, "The site answers again in those hours.")


def check_patients(policy: Policy, patients: int) -> None:
    """Raise PolicyError ``POLICY-PATIENTS`` when a site has fewer training patients than its policy requires."""
    if patients < policy.min_patients:
        what = f"{patients} training patients are fewer than the {policy.min_patients} of 'policy.min-patients'."
        raise PolicyError("POLICY-PATIENTS", what, "Add patients, or decline the study.")


def check_reply_size(policy: Policy, count: int) -> None:
    """Raise PolicyError ``POLICY-BYTES`` when a reply is larger than the policy allows.

    Parameters
    ----------
    policy : Policy
        Policy of the site.
    count : int
        Bytes of all records of the reply.
    """
    limit = policy.max_megabytes
    if limit and count > limit * 1e6:
        what = f"the reply has {format_bytes(count)}; at most {format_bytes(limit * 1e6)} may leave in one."
        raise PolicyError("POLICY-BYTES", what, "See 'policy.max-megabytes'.")


def check_weight(policy: Policy) -> None:
    """Raise PolicyError ``POLICY-METRICS`` when the number of training patients, the weight of a reply, may not leave."""
    if not may_leave(policy, records.TRAIN_PATIENTS):
        what = "the number of training patients, which is the weight of a training reply, may not leave."
        raise PolicyError("POLICY-METRICS", what, f"Add {records.TRAIN_PATIENTS} to 'policy.metrics', or decline the study.")


def redact(metrics: Metrics, policy: Policy) -> Metrics:
    """Return metrics without the values that may not leave; all keys stay, as every site must send the same.

    Scores leave together or not at all, as each is made of several numbers: if one may not leave, all are reported as hidden,
    just as scores over too few patients.
    """
    scores = [key for key in metrics if key.startswith("eval.")]
    redacted = {key: value if key in scores or may_leave(policy, key) else hide_number(value) for key, value in metrics.items()}
    return (
        redacted
        if all(may_leave(policy, key) for key in scores)
        else redacted | suppress_all({key: metrics[key] for key in scores})
    )


def _workload_rules(study: Study, policy: Policy) -> Iterator[Violation]:
    algorithm = ALGORITHMS.get(study.strategy.name)
    factor = max(1.0, algorithm.factor(1)) if algorithm else 1.0  # above 1 where a personal model is trained as well
    epochs, steps = math.ceil(study.training.local_epochs * factor), math.ceil(study.training.local_steps * factor)
    if 0 < policy.max_local_epochs < epochs and not steps:
        yield "POLICY-EPOCHS", f"The study trains {epochs} epochs a round; at most {policy.max_local_epochs} are allowed."
    if 0 < policy.max_local_steps < steps:
        yield "POLICY-STEPS", f"The study trains {steps} steps a round; at most {policy.max_local_steps} are allowed."
    tuning = study.personal.fine_tune_steps
    if 0 < policy.max_local_steps < tuning:
        yield "POLICY-STEPS", f"The study fine-tunes for {tuning} steps; at most {policy.max_local_steps} are allowed."
    if policy.max_local_epochs and (steps or tuning) and not policy.max_local_steps:
        yield "POLICY-STEPS", "The study counts in steps, for which this site has no limit: set 'policy.max-local-steps'."
    if policy.max_local_steps and not steps and not policy.max_local_epochs:
        yield "POLICY-EPOCHS", "The study counts in epochs, for which this site has no limit: set 'policy.max-local-epochs'."


def _protections(study: Study) -> frozenset[str]:
    """Return the protections that a study has; so far there is none to choose."""
    return frozenset()


def may_leave(policy: Policy, key: str) -> bool:
    """Return whether a metric of this name may leave, by ``policy.metrics`` alone."""
    return not policy.metrics or any(fnmatchcase(key, pattern) for pattern in policy.metrics)
