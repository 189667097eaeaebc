"""Sets of patients that differ by few: from sums over both, a server would learn what those few contributed.

A loss over 42 patients and the same loss over 40 of them tell that of the other two. So a hospital compares the splits of each
run with those of all runs before. What may leave of a run are sums over each of its splits that is not hidden, hence over any
union of them; multiples of such sums tell nothing that unions do not. A fingerprint is another function of the images, so its
patients are a set of its own, which is compared with those of other fingerprints.

A split is a set of *members*, one for each case, written ``patient/case``: a patient of whom a further image was used counts as
one who differs. Nothing here reads or writes a file, and the same arguments give the same sets.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

Splits = Mapping[str, frozenset[str]]  # members by the name of the split

FINGERPRINT = "fingerprint"  # split of those whom a fingerprint describes, in the place of all others

_NEEDED = ("train", FINGERPRINT)  # splits without which a hospital cannot take part
_Row = tuple[str, str, bool]  # split of a patient in one run, in another, and whether with the same images


@dataclass(frozen=True)
class Conflict:
    """Two unions of splits that differ by few patients.

    Parameters
    ----------
    earlier : int
        Index of the earlier run.
    new_splits, earlier_splits : tuple of str
        The splits of each run; empty where the other's union itself is meant.
    patients : int
        How many differ: 1 to k - 1.
    """

    earlier: int
    new_splits: tuple[str, ...]
    earlier_splits: tuple[str, ...]
    patients: int


def write_member(patient: str, case: str) -> str:
    """Return a case of a patient as a member of a set."""
    return f"{patient}/{case}"


def case_of(member: str) -> str:
    """Return the pseudonym of the case of a member."""
    return member.partition("/")[2]


def patients_of(members: Iterable[str]) -> set[str]:
    """Return the pseudonyms of the patients of a set."""
    return {_patient(member) for member in members}


def count_patients(members: Iterable[str]) -> int:
    """Return how many patients a set has."""
    return len(patients_of(members))


def count_missing_patients(before: Splits, present: Splits) -> int:
    """Return of how many patients in some splits a case is in no split any more."""
    return len(patients_of(_everyone(before) - _everyone(present)))


def find_near(new: Splits, earlier: Sequence[Splits], k: int) -> list[Conflict]:
    """Find what sums over a new run and an earlier one would tell of fewer than k patients.

    Parameters
    ----------
    new : mapping of str to frozenset of str
        Members of each split.
    earlier : sequence of such mappings
        Those of other runs.
    k : int
        Smallest number of patients of whom something may leave; 0 switches the rule off.
    """
    return _find(_Run(new), [_Run(one) for one in earlier], k)


def adjust(new: Splits, earlier: Sequence[Splits], k: int, secret: bytes) -> dict[str, frozenset[str]] | None:
    """Leave patients out of a run, until it differs from every earlier one by none or by at least k.

    The patients of an earlier run keep their splits, and patients who are new are left out where they are few. Where patients
    of it are gone, a withdrawn consent for instance, more are left out, drawn by the secret, so that nobody sees who is gone.
    When nothing has changed since, the sets of the last adjustment come out again.

    Parameters
    ----------
    new, earlier, k
        As in `find_near`; the earlier runs in the order in which they were.
    secret : bytes
        Secret of the site.

    Returns
    -------
    dict of str to frozenset of str, optional
        None when fewer than k patients would be left to train with, or to describe.
    """
    runs, everyone = [_Run(one) for one in earlier], _everyone(new)
    for count, run in enumerate(runs):
        is_possible = _everyone(run.splits) <= everyone and not _find(run, runs, k)
        if is_possible and _adjust_to(new, runs[:count], k, secret) == dict(run.splits):
            return dict(run.splits)
    return _adjust_to(new, runs, k, secret)


def leave_out_more(splits: Splits, earlier: Sequence[Splits], k: int, secret: bytes) -> dict[str, frozenset[str]] | None:
    """Leave patients out, drawn by a secret, until no union differs from one of an earlier run by 1 to k - 1; nobody is moved.

    Parameters and result are those of `adjust`.
    """
    return _leave_out(splits, [_Run(one) for one in earlier], k, secret)


class _Run:
    """The splits of a run, and each patient's split and members."""

    def __init__(self, splits: Splits) -> None:
        self.splits = splits
        members: dict[str, tuple[str, set[str]]] = {}
        for name, theirs in splits.items():
            for member in theirs:
                members.setdefault(_patient(member), (name, set()))[1].add(member)
        self.places = members

    @cached_property
    def sizes(self) -> Counter[str]:
        """Patients of each split."""
        return Counter(name for name, _ in self.places.values())


def _leave_out(splits: Splits, earlier: Sequence[_Run], k: int, secret: bytes) -> dict[str, frozenset[str]] | None:
    result = dict(splits)
    while conflicts := _find(_Run(result), earlier, k):
        conflict = min(conflicts, key=lambda one: len(one.new_splits) + len(one.earlier_splits))
        other = earlier[conflict.earlier].splits
        common = patients_of(_everyone({name: other[name] for name in conflict.earlier_splits}))
        pools = {name: patients_of(result[name]) & common for name in conflict.new_splits}
        name = max(sorted(pools), key=lambda name: len(pools[name]), default="")
        out = sorted(pools.get(name, ()), key=lambda patient: _draw(secret, patient))[: k - conflict.patients]
        if not out:
            return None
        result[name] = _without(result[name], set(out))
        if name in _NEEDED and count_patients(result[name]) < k:
            return None
    return result


def _adjust_to(new: Splits, earlier: Sequence[_Run], k: int, secret: bytes) -> dict[str, frozenset[str]] | None:
    near = {conflict.earlier for conflict in _find(_Run(new), earlier, k)}
    if not near:
        return dict(new)
    # of equals, the last one: it knows of the most patients who are gone
    bases = [earlier[at].splits for at in sorted(near, reverse=True)]
    ways = [_follow(new, base, k, with_new=with_new) for base in bases for with_new in (True, False)]
    found = [sets for way in [*ways, new] if (sets := _leave_out(way, earlier, k, secret))]
    return max(found, key=lambda sets: _count_use(sets, k), default=None)


def _count_use(splits: Splits, k: int) -> tuple[int, int]:
    """Return how much use some splits are: how many are not hidden, and how many patients they have."""
    counts = [count_patients(members) for members in splits.values()]
    return sum(count >= k for count in counts), sum(counts)


def _follow(new: Splits, base: Splits, k: int, *, with_new: bool) -> dict[str, frozenset[str]]:
    """Return the members that are left of an earlier run, in its splits, with those of new patients where they are many."""
    present, known = _everyone(new), patients_of(_everyone(base))
    result = {}
    for name in sorted({*new, *base}):
        before = base.get(name, frozenset())
        kept = before & present
        added = frozenset(member for member in new.get(name, ()) if _patient(member) not in known)
        many = len(patients_of(before - kept) | patients_of(added)) >= k
        result[name] = kept | added if with_new and many else kept
    return result


def _find(new: _Run, earlier: Sequence[_Run], k: int) -> list[Conflict]:
    if not k:
        return []
    alike = [at for at, one in enumerate(earlier) if (FINGERPRINT in one.splits) == (FINGERPRINT in new.splits)]
    return [conflict for at in alike for conflict in _compare(new, earlier[at], k, at)]


def _compare(new: _Run, earlier: _Run, k: int, index: int) -> Iterator[Conflict]:
    rows = _cross(new, earlier)
    for mine, theirs in product(_told_unions(new, k), _told_unions(earlier, k)):
        apart = sum(n for (here, there, _), n in rows.items() if (here in mine) != (there in theirs))
        changed = sum(n for (here, there, same), n in rows.items() if here in mine and there in theirs and not same)
        few = [n for n in (apart, apart + changed) if 0 < n < k]
        if few:
            yield Conflict(index, mine, theirs, few[0])


def _cross(new: _Run, earlier: _Run) -> Counter[_Row]:
    """Count patients by their split here, their split there (empty for none), and whether their images are the same."""
    none: tuple[str, set[str]] = ("", set())
    rows: Counter[_Row] = Counter()
    for patient, mine in new.places.items():
        theirs = earlier.places.get(patient, none)
        rows[mine[0], theirs[0], mine[1] == theirs[1]] += 1
    for patient, theirs in earlier.places.items():
        if patient not in new.places:
            rows["", theirs[0], False] += 1
    return rows


def _told_unions(run: _Run, k: int) -> list[tuple[str, ...]]:
    """Return all unions of splits with at least k patients, the empty one, too."""
    told = sorted(name for name, size in run.sizes.items() if size >= k)
    return [union for size in range(len(told) + 1) for union in combinations(told, size)]


def _everyone(splits: Splits) -> frozenset[str]:
    return frozenset().union(*splits.values())


def _patient(member: str) -> str:
    return member.partition("/")[0]


def _without(members: frozenset[str], patients: set[str]) -> frozenset[str]:
    return frozenset(member for member in members if _patient(member) not in patients)


def _draw(secret: bytes, patient: str) -> bytes:
    return hmac.digest(secret, f"left out of a run\x1f{patient}".encode(), "sha256")
