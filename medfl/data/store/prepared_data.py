"""Prepared cases, as training sees them: arrays that are memory-mapped from the hospital's disk when they are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case, Split
from medfl.data.findings import Finding
from medfl.data.source_grid import SourceGrid
from medfl.data.store.mapped_arrays import Array, Meta, map_array
from medfl.data.volume import Affine
from medfl.errors import DataError


@dataclass(frozen=True, eq=False)
class ReferenceMask:
    """The mask on the grid of its source, on which a test is scored.

    Parameters
    ----------
    label : ndarray of uint8
        (X, Y, Z) in RAS orientation, memory-mapped.
    affine : ndarray
        4 x 4 affine of `label`, in mm.
    spacing : tuple of float
        Millimetres between the voxels of `label`.
    prepared_affine : ndarray
        4 x 4 affine of the prepared image, in mm.
    """

    label: NDArray[np.uint8]
    affine: NDArray[np.float64]
    spacing: tuple[float, ...]
    prepared_affine: NDArray[np.float64]

    @property
    def grid(self) -> SourceGrid:
        """The grid of the mask."""
        return SourceGrid(self.label.shape, self.affine)


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case with its prepared arrays.

    Parameters
    ----------
    case : Case
        The case, with its split.
    image : ndarray
        (C, X, Y[, Z]) of the study's dtype, read-only.
    label : ndarray of uint8, int or None
        Mask (X, Y[, Z]), read-only, or the index of the class; None of a case without a label.
    spacing : tuple of float
        Millimetres of the prepared grid; 1.0 for 2-D images.
    foreground : mapping of int to ndarray
        At most 10000 voxel positions (n, D) for each foreground class; n is 0 for a class that is not there.
    reference : ReferenceMask, optional
        The mask on the original grid, when a 3-D grid was changed.
    annotated : tuple of int
        Foreground classes of the study that somebody looked for; empty when all were. Of others a mask says nothing: they
        are unknown.
    present : tuple of int
        Classes of the study that occur in the mask as it was read, or the one of the image.
    content : tuple of str
        The result of `medfl.data.same_content.checksum_content`.
    affine : ndarray
        4 x 4 affine of the prepared image in the space of its source: RAS mm, or pixels of a 2-D image as read.
    source : SourceGrid, optional
        The grid of the image as read; None where it is not known.
    """

    case: Case
    image: Array
    label: NDArray[np.uint8] | int | None
    spacing: tuple[float, ...]
    foreground: Mapping[int, Array] = field(default_factory=dict)
    reference: ReferenceMask | None = None
    annotated: tuple[int, ...] = ()
    present: tuple[int, ...] = ()
    content: tuple[str, ...] = ()
    affine: Affine = field(default_factory=lambda: np.eye(4))
    source: SourceGrid | None = None

    @property
    def name(self) -> str:
        """Pseudonym of the case."""
        return self.case.name

    @property
    def patient(self) -> str:
        """Pseudonym of the patient."""
        return self.case.patient

    @property
    def split(self) -> str:
        """``"train"``, ``"validation"`` or ``"test"``."""
        return self.case.split

    def require_label(self) -> NDArray[np.uint8] | int:
        """Return the label of a case that trains or is scored, and so has one."""
        label = self.label
        if label is None:
            raise TypeError("a case without a label can neither train nor be scored")
        return label

    def in_split(self, split: Split) -> Self:
        """Return the case in another split."""
        return replace(self, case=replace(self.case, split=split))


@dataclass(frozen=True)
class PreparedData:
    """All prepared cases of a site.

    Parameters
    ----------
    site : str
        Name of the site.
    cases : tuple of PreparedCase
        The usable ones, in the order of the cohort.
    findings : tuple of Finding
        Why others were left out, and warnings.
    patient_ids : bool
        Whether the data names its patients; if not, one image counts as one patient.
    """

    site: str
    cases: tuple[PreparedCase, ...]
    findings: tuple[Finding, ...]
    patient_ids: bool

    def get_split(self, name: str) -> tuple[PreparedCase, ...]:
        """Return the cases of one split."""
        return tuple(case for case in self.cases if case.split == name)

    def count_patients(self, split: str) -> int:
        """Return the number of patients in one split."""
        return len({case.patient for case in self.cases if case.split == split})

    @property
    def annotated(self) -> tuple[int, ...]:
        """Foreground classes that were looked for in at least one case; empty when all were in one."""
        sets = [case.annotated for case in self.cases]
        return tuple(sorted(set().union(*sets))) if all(sets) else ()

    @property
    def present(self) -> tuple[int, ...]:
        """Classes of the study of which at least one case has some."""
        return tuple(sorted(set().union(*(case.present for case in self.cases))))

    @property
    def digest(self) -> str:
        """Hash of all that decides what training and tests see of the cases beside the study, in their order."""
        facts = [(case.split, case.annotated, case.content) for case in self.cases]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def select_cases(prepared: PreparedData, splits: Mapping[str, Split]) -> PreparedData:
    """Return some cases of a site, each in the split that is given for it; findings and order stay.

    Parameters
    ----------
    prepared : PreparedData
        All cases.
    splits : mapping of str to str
        Split by name of the case; the others are left out.
    """
    chosen = [(case, splits[case.name]) for case in prepared.cases if case.name in splits]
    cases = tuple(case if case.split == split else case.in_split(split) for case, split in chosen)
    return replace(prepared, cases=cases)


class OnDiskCase(PreparedCase):
    """A prepared case whose arrays are mapped from the store when they are used.

    It opens its files anew at each access and keeps none of them open, so that any number of cases fits the limit of open
    files; an access costs some 30 microseconds. The first access in a process reads the file and checks that it is still what
    was written.

    Parameters
    ----------
    case : Case
        The case, with its split.
    folder : str
        Folder of its arrays.
    meta : dict
        Content of its ``meta.json``.
    renew : callable, optional
        Prepares the case anew in the same folder when a file turns out to be damaged.
    """

    _folder: str
    _meta: Meta
    _renew: Callable[[], Meta] | None

    def __init__(self, case: Case, folder: str, meta: Meta, renew: Callable[[], Meta] | None = None) -> None:
        for key, value in (("case", case), ("_folder", folder), ("_meta", meta), ("_renew", renew)):
            object.__setattr__(self, key, value)

    def __repr__(self) -> str:
        return f"OnDiskCase(name={self.name!r}, patient={self.patient!r}, split={self.split!r})"

    @property
    def image(self) -> Array:
        """Image (C, X, Y[, Z]), read-only."""
        return self._map("image.npy")

    @property
    def label(self) -> NDArray[np.uint8] | int | None:
        """Mask (X, Y[, Z]), read-only, or the index of the class; None of a case without a label."""
        value = self._meta["label"]
        if value is not None:
            return int(value)
        return self._map("label.npy") if "label.npy" in self._meta["files"] else None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres of the prepared grid."""
        return tuple(self._meta["spacing"])

    @property
    def foreground(self) -> Mapping[int, Array]:
        """Voxel positions of each foreground class, opened one by one."""
        return _Foreground(self._map, self._meta["foreground"])

    @property
    def reference(self) -> ReferenceMask | None:
        """The mask on the original grid."""
        facts = self._meta["reference"]
        if facts is None:
            return None
        label = self._map("reference.npy")
        return ReferenceMask(label, np.array(facts["affine"], dtype=np.float64), tuple(facts["spacing"]), self.affine)

    @property
    def annotated(self) -> tuple[int, ...]:
        """Foreground classes that somebody looked for; empty when all were."""
        return tuple(self._meta["annotated"])

    @property
    def present(self) -> tuple[int, ...]:
        """Classes that occur in the mask as it was read, or the one of the image."""
        label = self._meta["label"]
        return tuple(self._meta["present"]) if label is None else (int(label),)

    @property
    def content(self) -> tuple[str, ...]:
        """The result of `medfl.data.same_content.checksum_content`."""
        return tuple(self._meta["content"])

    @property
    def affine(self) -> Affine:
        """Affine of the prepared image in the space of its source."""
        return np.array(self._meta["affine"], dtype=np.float64)

    @property
    def source(self) -> SourceGrid | None:
        """The grid of the image as read."""
        return SourceGrid.from_facts(self._meta["source"])

    def in_split(self, split: Split) -> Self:
        """Return the case in another split."""
        return type(self)(replace(self.case, split=split), self._folder, self._meta, self._renew)

    def _map(self, name: str) -> Array:
        try:
            return map_array(self._folder, name, self._meta)
        except DataError as error:
            if error.code != "STORE-DAMAGED" or self._renew is None:
                raise
        object.__setattr__(self, "_meta", self._renew())
        return map_array(self._folder, name, self._meta)


class _Foreground(Mapping[int, Array]):
    def __init__(self, map_file: Callable[[str], Array], classes: list[int]) -> None:
        self._map_file, self._classes = map_file, classes

    def __getitem__(self, index: int) -> Array:
        if index not in self._classes:
            raise KeyError(index)
        return self._map_file(f"fg_{index}.npy")

    def __iter__(self) -> Iterator[int]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)
