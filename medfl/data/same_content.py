"""Images that turn out to be one and the same when they are read: copies that no path, header or size gives away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xxhash
from numpy.typing import NDArray

from medfl.data.case_building import conflict_error, copies_warning
from medfl.data.cases import Case
from medfl.data.findings import Finding
from medfl.data.volume import Volume


@dataclass(frozen=True)
class Copies:
    """Which cases show one image, and what follows.

    Parameters
    ----------
    dropped : frozenset of str
        Pseudonyms of the cases that are not to be used.
    findings : tuple of Finding
        ``CASE-DUP``, a warning about the case that is used, and ``CASE-CONFLICT`` about each that contradicts another.
    others : mapping of str to tuple of str
        The other cases with the same image, for each case that is not the only one.
    """

    dropped: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def tell_reading(self, codes: Mapping[str, str]) -> dict[str, str]:
        """Return codes of what reading each case showed, with ``CASE-DUP`` for copies that agree with one that is used."""
        contradicted = {finding.case for finding in self.findings}
        return {**codes, **dict.fromkeys(self.dropped - contradicted, "CASE-DUP")}


def checksum_content(volume: Volume, label: NDArray[np.uint8] | int) -> tuple[str, str]:
    """Return the checksums of the voxels of an image as stored, and of its mask; or its class."""
    return _checksum(volume.array), str(label) if isinstance(label, int) else _checksum(label)


def settle_copies(cases: Iterable[Case], contents: Mapping[str, Sequence[str]], *, patient_ids: bool) -> Copies:
    """Find the cases that show the same image, and say which of them are not to be used.

    Images are the same if their voxels are, whatever the files are called, however they are compressed, and which UIDs they
    bear. Copies that agree in label, patient, split and annotated classes are used once, others not at all.

    Parameters
    ----------
    cases : iterable of Case
        Cases in a fixed order, with the splits that the index gives: of copies that agree, the first is used.
    contents : mapping of str to sequence of str
        The result of `checksum_content` for each usable case.
    patient_ids : bool
        Whether the layout names patients; if not, each copy has an id of its own.
    """
    by_voxels: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.name in contents:
            by_voxels[contents[case.name][0]].append(case)
    dropped: set[str] = set()
    findings: list[Finding] = []
    others: dict[str, tuple[str, ...]] = {}
    for group in (copies for copies in by_voxels.values() if len(copies) > 1):
        names = [case.name for case in group]
        others |= {name: tuple(other for other in names if other != name) for name in names}
        if len({(contents[c.name][1], c.patient if patient_ids else "", c.split, c.annotated) for c in group}) > 1:
            dropped |= set(names)
            findings += [Finding.from_error(conflict_error(), name) for name in names]
        else:
            dropped |= set(names[1:])
            findings.append(copies_warning(len(names)).of_case(names[0]))
    return Copies(frozenset(dropped), tuple(findings), others)


def _checksum(array: NDArray[np.generic]) -> str:
    shape = "x".join(map(str, array.shape))
    order = "".join(map(str, np.argsort(array.strides, kind="stable")))  # the values are taken as they lie in memory
    return f"{shape} {order} {xxhash.xxh3_128(np.ravel(array, order='K').view(np.uint8).data).hexdigest()}"
