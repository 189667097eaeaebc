"""What a study can learn from this site: the bound of `medfl.privacy.information` for the patients that the site has today."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from medfl.data.cases import Case
from medfl.data.cohort import read_cohort
from medfl.data.index.file_index import Progress
from medfl.data.splits import assign_splits
from medfl.errors import MedflError
from medfl.privacy.information import Information, Sizes, bound_information
from medfl.privacy.ledger_rows import RUNS_ALLOWED
from medfl.privacy.outcomes import SplitSize
from medfl.site import Site
from medfl.study import Study

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DisclosureSum:
    """What a study can learn from a site at most.

    Parameters
    ----------
    information : Information
        The bound.
    sizes : mapping of str to SplitSize or None
        Patients by split as they were counted; None where they could not be, and the bound is for `MOST_PATIENTS` in each.
    problem : str
        Why they could not be; it stays at the site.
    start_bytes : int
        Bytes of the first model that comes whole as the site is asked to join; 0 where none does.
    """

    information: Information
    sizes: Sizes | None
    problem: str = ""
    start_bytes: int = 0


def sum_disclosure(site: Site, study: Study, runs: int = RUNS_ALLOWED, progress: Progress | None = None) -> DisclosureSum:
    """Return what a study can learn from a site, by headers and indices of its data alone and the shapes of its network.

    Parameters
    ----------
    site : Site
        The site.
    study : Study
        The study, which need not be approved.
    runs : int
        Runs of the approval.
    progress : callable, optional
        Called with (files read, files to read) while headers are read.

    Raises
    ------
    ConfigError
        When the study's arguments are not valid for its network.
    """
    from medfl.clients.networks.update_size import (
        count_start_bytes,
        count_update_bytes,
    )  # imports torch and MONAI, which take seconds

    sizes, problem = None, ""
    try:
        counted = count_sizes(site, study, progress)
        if any(size.cases for size in counted.values()):  # else the data comes later, or lies where it is not looked for
            sizes = counted
    except MedflError as error:
        problem = str(error)
    information = bound_information(study, site.policy, sizes, update_bytes=count_update_bytes(study), runs=runs)
    return DisclosureSum(information, sizes, problem, count_start_bytes(study))


def count_sizes(site: Site, study: Study, progress: Progress | None = None) -> dict[str, SplitSize]:
    """Return how many patients, labels and images a site has in each split, by headers and indices alone.

    Raises
    ------
    DataError
        When the data cannot be read.
    """
    return size_splits(read_cohort(site, study, progress).cases, study, site.name)


def size_splits(cases: Sequence[Case], study: Study, site: str) -> dict[str, SplitSize]:
    """Return how many patients, labels and images of some cases of a site each split has."""
    splits = assign_splits(cases, study, site)
    patients, units, images = (defaultdict[str, list[object]](list) for _ in range(3))
    for case in cases:
        split = splits[case.name]
        patients[split].append(case.patient)
        units[split].append(unit_of(case))
        images[split].append(case.name)
    return {each: SplitSize(len(set(patients[each])), len(set(units[each])), len(images[each])) for each in SPLITS}


def unit_of(case: Case) -> tuple[str, int]:
    """Return what a histogram of scores counts once: a patient with one label of theirs."""
    return case.patient, case.label if isinstance(case.label, int) else 0
