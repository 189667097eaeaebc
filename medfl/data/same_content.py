"""Images that turn out to be one and the same when they are read: copies that no path, header or size gives away."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from medfl.data.case_building import conflict_error, copies_warning
from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.volume import Volume


@dataclass(frozen=True)
class Content:
    """What a case holds, as far as copies are concerned.

    Parameters
    ----------
    case, patient : str
        Pseudonyms.
    image, label : str
        Checksums of the voxels and of the mask; or the class.
    """

    case: str
    patient: str
    image: str
    label: str


def checksum_content(volume: Volume, label: NDArray[np.uint8] | int) -> tuple[str, str]:
    """Return the checksums of the voxels of an image as stored, and of its mask; or its class."""
    return _checksum(volume.array), str(label) if isinstance(label, int) else _checksum(label)


def settle_copies(
    contents: Sequence[Content], images: Mapping[str, Source], *, patient_ids: bool
) -> tuple[set[str], list[Finding]]:
    """Return the cases that are not to be used because the same image is there again, and what is to be said about it.

    Volumes in NIfTI are copies if their voxels are the same, and the sizes of their files. Others were found before they
    were read: `medfl.data.layouts.copies`.

    Parameters
    ----------
    contents : sequence of Content
        All usable cases, in a fixed order: of copies that agree, the first is used.
    images : mapping of str to Source
        Images of the cases.
    patient_ids : bool
        Whether the layout names patients; if not, each copy has an id of its own.

    Returns
    -------
    dropped : set of str
        Pseudonyms.
    findings : list of Finding
        ``CASE-DUP``, a warning about the case that is used, and ``CASE-CONFLICT`` about each that contradicts another.
    """
    dropped: set[str] = set()
    findings: list[Finding] = []
    for group in _find_copies(contents, images):
        if len({(content.label, content.patient if patient_ids else "") for content in group}) > 1:
            dropped |= {content.case for content in group}
            findings += [Finding.from_error(conflict_error(), content.case) for content in group]
        else:
            dropped |= {content.case for content in group[1:]}
            findings.append(copies_warning(len(group)).of_case(group[0].case))
    return dropped, findings


def _find_copies(contents: Sequence[Content], images: Mapping[str, Source]) -> Iterator[list[Content]]:
    by_voxels: dict[str, list[Content]] = defaultdict(list)
    for content in contents:
        if images[content.case].kind == "nifti":
            by_voxels[content.image].append(content)
    for alike in by_voxels.values():
        by_size: dict[int, list[Content]] = defaultdict(list)
        for content in alike if len(alike) > 1 else ():
            by_size[_count_bytes(images[content.case])].append(content)
        yield from (copies for copies in by_size.values() if len(copies) > 1)


def _count_bytes(source: Source) -> int:
    """Return the size of the files of an image; 0 when one is gone by now."""
    try:
        return sum(os.stat(path).st_size for path in source.paths)
    except OSError:
        return 0


def _checksum(array: NDArray[np.generic]) -> str:
    shape = "x".join(map(str, array.shape))
    order = "".join(map(str, np.argsort(array.strides, kind="stable")))  # the values are taken as they lie in memory
    return f"{shape} {order} {xxhash.xxh3_128(np.ravel(array, order='K').view(np.uint8).data).hexdigest()}"
