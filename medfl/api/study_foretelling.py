"""What a study will meet when it runs, as far as it can be known before."""

from __future__ import annotations

from collections.abc import Iterator

from medfl.deploy.disclosure_sum import count_sizes
from medfl.errors import ConfigError, MedflError, Problem, TrainingError
from medfl.privacy.policy_checks import find_violations
from medfl.site import Site
from medfl.study import Study
from medfl.study.study_file import STUDY_FILE
from medfl.study.tuning import tune_patterns
from medfl.system.text import join_words, plural

_HELD_OUT = ("validation", "test")


def require_trainable(study: Study) -> None:
    """Refuse a study whose images or patches are too small for its network, or that trains no part of it; nothing is computed.

    Raises
    ------
    ConfigError
        With the key of the size, or of the part.
    """
    if tune_patterns(study.training.tune):
        from medfl.clients.networks.tuning import build_training_network_without_memory

        build_training_network_without_memory(study)
    if not _may_be_too_small(study):
        return
    from medfl.clients.training.forward import check_size  # needs torch and MONAI, which take seconds to import

    try:
        check_size(study)
    except TrainingError as error:
        key = "training.patch" if study.training.patch else "preprocessing.size"
        raise ConfigError([Problem(STUDY_FILE, key, error.what, error.fix)]) from None


def _may_be_too_small(study: Study) -> bool:
    """Return whether only the network itself can tell: not if its deepest level surely has more than one voxel."""
    size = study.training.patch or study.preprocessing.size
    divisors = study.network.divisors(len(size))  # all 1 where a network takes any size
    return bool(size) and (max(divisors) == 1 or all(side <= divisor for side, divisor in zip(size, divisors, strict=True)))


def foretell_policy(site: Site, study: Study) -> Iterator[str]:
    """Yield what the policy of a site will refuse of a study, and which of its scores it will hide, each as a sentence.

    Parameters
    ----------
    site : Site
        The site; its data is looked at only where its policy hides small counts.
    study : Study
        The study.
    """
    for _, violation in find_violations(study, site.policy):
        yield f"{site.name} would refuse the study. {violation}"
    k = site.policy.min_count
    if not k:
        return
    try:
        counts = count_patients(site, study)
    except MedflError as error:
        yield f"{site.name}: what its policy hides cannot be told, as its data cannot be read. {error}"
        return
    if 0 < counts["train"] < k:
        patients = plural(counts["train"], "training patient")
        yield f"{site.name} would decline: its policy lets no count below {k} leave, and it has {patients}."
    few = [f"{plural(counts[split], f'{split} patient')}" for split in _HELD_OUT if 0 < counts[split] < k]
    if few:
        yield f"{site.name} will not tell its scores over {join_words(few)}: its policy hides numbers over fewer than {k}."


def foretell_sites(study: Study, sites: int) -> Iterator[str]:
    """Yield that a federation of so many hospitals could not run a study which a simulation of them can."""
    try:
        study.check_sites(sites)
    except ConfigError as error:
        (problem,) = error.problems
        yield f"A federation would refuse the study. {problem.key}: {problem.what} {problem.fix}"


def count_patients(site: Site, study: Study) -> dict[str, int]:
    """Return how many patients a site has in each split, by headers and indices alone.

    Raises
    ------
    DataError
        When the data cannot be read.
    """
    return {split: size.patients for split, size in count_sizes(site, study).items()}
