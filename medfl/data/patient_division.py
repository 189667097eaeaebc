"""Division of the patients of one data set among simulated hospitals: at random, or with other labels, sizes, or positives.

The order of the patients is keyed by the seed of the splits and their original ids, and proportions are drawn by Python's own
generator, so the same data, seed and settings give the same hospitals on every machine. An image that turns out to be unusable
moves no patient: they are divided before any image is read, but after the copies that show without that are grouped in the
whole data set, so that none of them is at two hospitals.
"""

from __future__ import annotations

import hmac
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from random import Random

from medfl.data.case_building import find_conflict
from medfl.data.findings import Finding
from medfl.data.labels import parse_class
from medfl.data.layouts.entries import Entry
from medfl.data.split_names import UNLABELLED, parse_split_name
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Simulation, Study

UNKNOWN = -1  # class of a patient without a label that is one of the study's
MIN_DRAWN = 3  # patients with a label of each hospital where sizes are drawn: fewer cannot train, validate and test
_MAX_DRAWS = 1000  # until every hospital has as many

Division = dict[str, int]  # number of the hospital by patient


def select_patients(
    images: Sequence[Sequence[Entry]], site: Site, study: Study, *, patient_ids: bool
) -> tuple[Sequence[Sequence[Entry]], tuple[Finding, ...]]:
    """Return what is of the patients of one hospital when a data set simulates several, and what is to be known about that.

    An image that is there with contradictory facts gives its patient no class; one hospital has all its copies, and tells.

    Parameters
    ----------
    images : sequence of sequence of Entry
        The entries about each image of the data set, of which the first one says whose it is.
    site : Site
        The hospital.
    study : Study
        Names the classes, and gives the seed.
    patient_ids : bool
        Whether the layout names patients.

    Raises
    ------
    DataError
        ``SITE-PARTITION`` when the patients cannot be divided as the simulation asks.
    """
    simulated = site.simulated
    if simulated is None or not simulated.simulation.site_count or not images:
        return images, ()
    entries = [_without_contradiction(image, patient_ids=patient_ids) for image in images]
    simulation, patients = simulated.simulation, {_patient(entry) for entry in entries}
    if len(patients) < simulation.site_count:
        raise _error(f"{len(patients)} patients cannot be at {simulation.site_count} hospitals.", "Ask for fewer hospitals.")
    if simulation.partition == "random":
        division = deal_evenly(_order(_label_texts(entries), study.seed_of_splits), simulation.site_count)
    else:
        division = divide_patients(_patient_classes(entries, site, study), simulation, study.seed_of_splits)
    own = [image for image in images if division.get(_patient(image[0])) == simulated.number]
    left_out = len(patients - division.keys())
    if not left_out or simulated.number:  # told once, not by every hospital
        return own, ()
    what = f"{left_out} of {len(patients)} patients have no place in the stated shares, and are at no hospital."
    return own, (Finding.warning("SITE-REST", what, "Nothing to do; other shares in 'simulation.positives' leave out fewer."),)


def divide_patients(classes: Mapping[str, int], simulation: Simulation, seed: int) -> Division:
    """Divide patients among hospitals, with skewed labels, sizes or shares of positives.

    Label skew draws the proportions in which each class falls on the hospitals from a Dirichlet distribution (Yurochkin et al.,
    Bayesian Nonparametric Federated Learning of Neural Networks, ICML 2019), quantity skew their sizes (Li et al., Federated
    Learning on Non-IID Data Silos, ICDE 2022). They are drawn again until each hospital has `MIN_DRAWN` patients
    with a label. That is the least that three splits need, and no promise of them: patients are split within each class, so
    three of two classes may all train.

    Parameters
    ----------
    classes : mapping of str to int
        Class of each patient; `UNKNOWN` for one without.
    simulation : Simulation
        Names the partition and its numbers.
    seed : int
        Seed of the splits.

    Returns
    -------
    dict of str to int
        Number of the hospital by patient; with stated shares of positives, patients who do not fit are missing.

    Raises
    ------
    DataError
        ``SITE-PARTITION``.
    """
    sites = simulation.site_count
    strata: dict[int, list[str]] = defaultdict(list)
    for patient in _order(classes, seed):
        strata[classes[patient]].append(patient)
    unlabelled = deal_evenly(strata.pop(UNKNOWN, []), sites)
    labelled = [patient for members in strata.values() for patient in members]
    match simulation.partition:
        case "label-skew":
            sizes = tuple(map(len, strata.values()))
            division = _cut(strata.values(), draw_proportions(sizes, simulation.alpha, sites, seed))
        case "positives":
            division = _cut((strata[0], strata[1]), _count_positives(len(strata[0]), len(strata[1]), simulation))
        case _:
            counts = apportion(len(labelled), simulation.shares) if simulation.shares else None
            drawn = counts or draw_proportions((len(labelled),), simulation.alpha, sites, seed)[0]
            division = _deal(labelled, drawn)
    empty = set(range(sites)) - set(division.values())
    if empty:
        what = f"{len(labelled)} patients with a label leave {len(empty)} of {sites} hospitals with none."
        raise _error(what, "Give it a larger share, or ask for fewer hospitals.")
    return division | unlabelled


def deal_evenly(patients: Sequence[str], sites: int) -> Division:
    """Deal patients to hospitals in turn."""
    return {patient: rank % sites for rank, patient in enumerate(patients)}


def apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Return whole numbers in the proportions of some shares, which add up to the total, by the largest remainders.

    Examples
    --------
    >>> apportion(10, [0.6, 0.25, 0.15])
    [6, 3, 1]
    """
    whole = math.fsum(shares)
    exact = [total * share / whole for share in shares]
    counts = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda k: (counts[k] - exact[k], k))
    for k in by_remainder[: total - sum(counts)]:
        counts[k] += 1
    return counts


@lru_cache(maxsize=64)  # every hospital of a simulation asks for the same
def draw_proportions(sizes: tuple[int, ...], alpha: float, sites: int, seed: int) -> list[list[int]]:
    """Return how many members of each group each hospital has, in proportions drawn from a symmetric Dirichlet distribution.

    Parameters
    ----------
    sizes : tuple of int
        Members of each group.
    alpha : float
        Concentration.
    sites : int
        Hospitals.
    seed : int
        Seed of the splits.

    Raises
    ------
    DataError
        ``SITE-PARTITION`` when no draw gives every hospital `MIN_DRAWN` members.
    """
    needed = sites * MIN_DRAWN
    if sum(sizes) < needed:
        what = f"{sum(sizes)} patients with a label are too few for {sites} hospitals of {MIN_DRAWN} or more."
        raise _error(what, "Ask for fewer hospitals.")
    generator = Random(f"dirichlet {seed}")  # its numbers are the same on every machine
    for _ in range(_MAX_DRAWS):
        counts = [apportion(size, _draw_dirichlet(generator, alpha, sites)) for size in sizes]
        if min(map(sum, zip(*counts, strict=True))) >= MIN_DRAWN:
            return counts
    what = (
        f"with alpha = {alpha:g}, none of {_MAX_DRAWS} draws leaves {MIN_DRAWN} or more patients at each of {sites} hospitals."
    )
    raise _error(what, "Choose a larger alpha, or fewer hospitals.")


def _draw_dirichlet(generator: Random, alpha: float, sites: int) -> list[float]:
    draws = [generator.gammavariate(alpha, 1.0) for _ in range(sites)]
    if any(draws):
        return draws
    chosen = generator.randrange(sites)  # alpha is so small that all draws are rounded to 0: one has everything
    return [float(k == chosen) for k in range(sites)]


def _count_positives(n_negative: int, n_positive: int, simulation: Simulation) -> list[list[int]]:
    """Return the negative and the positive patients of each hospital, as many as the stated shares allow."""
    positives, sites = simulation.positives, simulation.site_count
    shares = simulation.shares or (1 / sites,) * sites
    parts = [
        [share * (1 - positive) for share, positive in zip(shares, positives, strict=True)],
        [share * positive for share, positive in zip(shares, positives, strict=True)],
    ]
    total = min(n / sum(part) for n, part in zip((n_negative, n_positive), parts, strict=True) if sum(part) > 0)
    counts = [apportion(math.floor(total * sum(part) + 1e-9), part) if sum(part) > 0 else [0] * sites for part in parts]
    for name, part, numbers in zip(("first", "second"), parts, counts, strict=True):
        if short := sum(share > 0 and count == 0 for share, count in zip(part, numbers, strict=True)):
            what = f"{n_negative} patients of the first class and {n_positive} of the second are too few for the stated shares:"
            what = f"{what} {short} of {sites} hospitals would have none of the {name} class, though it is to have some."
            raise _error(what, "Choose shares nearer to those of the data, or fewer hospitals.")
    return counts


def _cut(groups: Iterable[Sequence[str]], counts: Sequence[Sequence[int]]) -> Division:
    """Give each hospital its number of members of each group, in their order."""
    division: Division = {}
    for members, numbers in zip(groups, counts, strict=True):
        sites = (site for site, number in enumerate(numbers) for _ in range(number))
        division |= dict(zip(members, sites, strict=False))  # those beyond the counts are at no hospital
    return division


def _deal(patients: Sequence[str], counts: Sequence[int]) -> Division:
    """Deal patients in turn, to larger hospitals more often: classes, which are sorted, have the same shares everywhere."""
    turns = sorted(((2 * k + 1) / (2 * count), site) for site, count in enumerate(counts) for k in range(count))
    return {patient: site for patient, (_, site) in zip(patients, turns, strict=True)}


def _order(groups: Mapping[str, int] | Mapping[str, str], seed: int) -> list[str]:
    """Return the patients by group, and within each in the keyed order."""
    key = str(seed).encode()
    keyed = {patient: hmac.digest(key, f"partition\x1f{patient}".encode(), "sha256") for patient in groups}
    return sorted(groups, key=lambda patient: (groups[patient], keyed[patient]))


def _label_texts(entries: Sequence[Entry]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry.label, str):
            texts.setdefault(_patient(entry), entry.label.casefold())
    return {_patient(entry): texts.get(_patient(entry), "") for entry in entries}


def _patient_classes(entries: Sequence[Entry], site: Site, study: Study) -> dict[str, int]:
    """Return the most frequent class of each patient, the lowest of equals, as splits have it."""
    found: dict[str, Counter[int]] = {_patient(entry): Counter() for entry in entries}
    for entry in entries:
        if isinstance(entry.label, str) and parse_split_name(entry.split) != UNLABELLED:
            found[_patient(entry)][_class_of(entry.label, site, study)] += 1
        elif study.task.kind == "segmentation":
            found[_patient(entry)][0] += 1
    for counts in found.values():
        counts.pop(UNKNOWN, None)
    return {
        patient: min((-count, value) for value, count in counts.items())[1] if counts else UNKNOWN
        for patient, counts in found.items()
    }


def _class_of(text: str, site: Site, study: Study) -> int:
    try:
        return parse_class(text, study.task.classes, site.classes, positions=study.task.labels == "positions")
    except DataError:
        return UNKNOWN  # the case is left out later, with the reason


def _without_contradiction(image: Sequence[Entry], *, patient_ids: bool) -> Entry:
    conflict = find_conflict(image, patient_ids=patient_ids)
    return replace(image[0], label=conflict) if conflict else image[0]


def _patient(entry: Entry) -> str:
    return entry.patient or entry.key


def _error(what: str, fix: str) -> DataError:
    return DataError("SITE-PARTITION", what, fix)
