"""Prepared cases, as training sees them: arrays that are memory-mapped from the hospital's disk when they are looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case
from medfl.data.findings import Finding
from medfl.errors import DataError

Array = NDArray[Any]
Meta = dict[str, Any]  # the content of a case's meta.json


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


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case with its prepared arrays.

    Parameters
    ----------
    case : Case
        The case, with its split.
    image : ndarray
        (C, X, Y[, Z]) of the study's dtype, read-only.
    label : ndarray of uint8 or int
        Mask (X, Y[, Z]), read-only, or the index of the class.
    spacing : tuple of float
        Millimetres of the prepared grid; 1.0 for 2-D images.
    foreground : mapping of int to ndarray
        At most 10000 voxel positions (n, D) for each foreground class; n is 0 for a class that is not there.
    reference : ReferenceMask, optional
        The mask on the original grid, when a 3-D grid was changed.
    annotated : tuple of int
        Foreground classes of the study that somebody looked for; empty when all were. Of others a mask says nothing: they
        are unknown.
    """

    case: Case
    image: Array
    label: NDArray[np.uint8] | int
    spacing: tuple[float, ...]
    foreground: Mapping[int, Array] = field(default_factory=dict)
    reference: ReferenceMask | None = None
    annotated: tuple[int, ...] = ()

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


class OnDiskCase(PreparedCase):
    """A prepared case whose arrays are mapped from the store when they are used.

    It opens its files anew at each access and keeps none of them open, so that any number of cases fits the limit of open
    files; an access costs some 30 microseconds.

    Parameters
    ----------
    case : Case
        The case, with its split.
    folder : str
        Folder of its arrays.
    meta : dict
        Content of its ``meta.json``.
    """

    _folder: str
    _meta: Meta

    def __init__(self, case: Case, folder: str, meta: Meta) -> None:
        for key, value in (("case", case), ("_folder", folder), ("_meta", meta)):
            object.__setattr__(self, key, value)

    def __repr__(self) -> str:
        return f"OnDiskCase(name={self.name!r}, patient={self.patient!r}, split={self.split!r})"

    @property
    def image(self) -> Array:
        """Image (C, X, Y[, Z]), read-only."""
        return map_array(self._folder, "image.npy", self._meta)

    @property
    def label(self) -> NDArray[np.uint8] | int:
        """Mask (X, Y[, Z]), read-only, or the index of the class."""
        value = self._meta["label"]
        return map_array(self._folder, "label.npy", self._meta) if value is None else int(value)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres of the prepared grid."""
        return tuple(self._meta["spacing"])

    @property
    def foreground(self) -> Mapping[int, Array]:
        """Voxel positions of each foreground class, opened one by one."""
        return _Foreground(self._folder, self._meta)

    @property
    def reference(self) -> ReferenceMask | None:
        """The mask on the original grid."""
        facts = self._meta["reference"]
        if facts is None:
            return None
        label = map_array(self._folder, "reference.npy", self._meta)
        prepared_affine = np.array(self._meta["affine"], dtype=np.float64)
        return ReferenceMask(label, np.array(facts["affine"], dtype=np.float64), tuple(facts["spacing"]), prepared_affine)

    @property
    def annotated(self) -> tuple[int, ...]:
        """Foreground classes that somebody looked for; empty when all were."""
        return tuple(self._meta["annotated"])


class _Foreground(Mapping[int, Array]):
    def __init__(self, folder: str, meta: Meta) -> None:
        self._folder, self._meta = folder, meta

    def __getitem__(self, index: int) -> Array:
        if index not in self._meta["foreground"]:
            raise KeyError(index)
        return map_array(self._folder, f"fg_{index}.npy", self._meta)

    def __iter__(self) -> Iterator[int]:
        return iter(self._meta["foreground"])

    def __len__(self) -> int:
        return len(self._meta["foreground"])


def map_array(folder: str, name: str, meta: Meta) -> Array:
    """Map one array of a case, read-only, with the shape in its ``meta.json``.

    Parameters
    ----------
    folder : str
        Folder of the case.
    name : str
        File name, for example ``"image.npy"``.
    meta : dict
        Content of the case's ``meta.json``.

    Raises
    ------
    DataError
        ``STORE-LOST`` when the file went away or is shorter than it was.
    """
    facts = meta["files"][name]
    shape, dtype = tuple(facts["shape"]), np.dtype(facts["dtype"])
    if 0 in shape:
        return np.zeros(shape, dtype)  # nothing to map
    try:
        return np.memmap(os.path.join(folder, name), dtype, "r", facts["offset"], shape)
    except (OSError, ValueError):
        pass  # their texts hold the path
    raise DataError("STORE-LOST", "a file of the prepared data went away while it was in use.", "Prepare the data again.")
