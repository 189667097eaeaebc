"""Images that turn out to be one and the same when they are read: copies that no path, header or size gives away."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xxhash
from numpy.typing import NDArray

from medfl.data.case_building import conflict_error, copies_warning
from medfl.data.cases import Case, Source
from medfl.data.findings import Finding
from medfl.data.volume import Volume
from medfl.system.text import plural


@dataclass(frozen=True)
class Copies:
    """Which cases show one image, and what follows.

    Parameters
    ----------
    dropped : frozenset of str
        Pseudonyms of the cases that are not to be used.
    findings : tuple of Finding
        ``CASE-DUP``, a warning about the case that is used; ``CASE-CONFLICT`` about each that contradicts another; and
        ``CASE-ALIKE``, a warning about each that has the voxels of others in a file of its own.
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


def checksum_content(volume: Volume, label: NDArray[np.uint8] | int | None) -> tuple[str, str, str]:
    """Return the checksums of the voxels of an image as stored, of its mask (or class), and of where the voxels lie."""
    of_label = _checksum(label) if isinstance(label, np.ndarray) else "" if label is None else str(label)
    return _checksum(volume.array), of_label, _checksum(volume.affine)


def settle_copies(cases: Iterable[Case], contents: Mapping[str, Sequence[str]], *, patient_ids: bool) -> Copies:
    """Find the cases that show the same image, and say which of them are not to be used.

    NIfTI files of one size with the same voxels are copies. Copies that agree in label, patient, split and annotated classes
    are used once, others not at all. Where the voxels alone are the same (files that were saved anew, series with UIDs of their
    own), it is told, and all are used: that may be chance, as with a phantom that was sent for several patients.

    Parameters
    ----------
    cases : iterable of Case
        Cases in a fixed order, with the splits that the index gives: of copies that agree, the first is used.
    contents : mapping of str to sequence of str
        The result of `checksum_content` for each usable case.
    patient_ids : bool
        Whether the layout names patients; if not, each copy has an id of its own.
    """

    def stated(case: Case) -> tuple[object, ...]:
        return contents[case.name][1], case.patient if patient_ids else "", case.split, case.annotated

    by_voxels: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.name in contents:
            by_voxels[contents[case.name][0]].append(case)
    dropped: set[str] = set()
    findings: list[Finding] = []
    others: dict[str, tuple[str, ...]] = {}
    for alike in (group for group in by_voxels.values() if len(group) > 1):
        others |= {case.name: tuple(other.name for other in alike if other is not case) for case in alike}
        for copies in (group for group in _find_same_files(alike) if len(group) > 1):
            names = [case.name for case in copies]
            if len(set(map(stated, copies))) > 1:
                dropped |= set(names)
                findings += [Finding.from_error(conflict_error(), name) for name in names]
            else:
                dropped |= set(names[1:])
                findings.append(copies_warning(len(names)).of_case(names[0]))
        if len(left := [case for case in alike if case.name not in dropped]) > 1:
            warning = _alike_warning(len(left) - 1, agree=len(set(map(stated, left))) == 1)
            findings += [warning.of_case(case.name) for case in left]
    return Copies(frozenset(dropped), tuple(findings), others)


def _find_same_files(cases: Iterable[Case]) -> list[list[Case]]:
    """Return the volumes in NIfTI among cases with the same voxels, by the size of their files."""
    by_size: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        if case.image.kind == "nifti" and (size := _count_bytes(case.image)):
            by_size[size].append(case)
    return list(by_size.values())


def _count_bytes(source: Source) -> int:
    """Return the size of the files of an image; 0 when one is gone by now."""
    try:
        return sum(os.stat(path).st_size for path in source.paths)
    except OSError:
        return 0


def _alike_warning(count: int, *, agree: bool) -> Finding:
    differ = "" if agree else ", and labels, patients or splits differ"
    what = f"the image has the same voxels as {plural(count, 'other case')}, in files of their own{differ}; all are used."
    fix = "If they are one image that was saved or sent anew, keep one of them; 'medfl data whois' names all."
    return Finding.warning("CASE-ALIKE", what, fix)


def _checksum(array: NDArray[np.generic]) -> str:
    shape = "x".join(map(str, array.shape))
    order = "".join(map(str, np.argsort(array.strides, kind="stable")))  # the values are taken as they lie in memory
    return f"{shape} {order} {xxhash.xxh3_128(np.ravel(array, order='K').view(np.uint8).data).hexdigest()}"
