"""Arrays that are stored for a case: image, label, voxels of each class, the mask on the original grid, and that grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from medfl.data.same_content import checksum_content
from medfl.data.source_grid import SourceGrid
from medfl.data.store.mapped_arrays import Array, Meta
from medfl.data.store.prepared_size import check_prepared_size
from medfl.data.volume import Volume
from medfl.site import Site
from medfl.study import Study

MAX_POSITIONS = 10000  # of voxels remembered for each class
_MAX_COMPARED = 16  # classes; up to here, one comparison a class is faster than a histogram

LoadedCase = tuple[Volume, NDArray[np.uint8] | int | None]


def build_case_arrays(
    read: Callable[[], LoadedCase], study: Study, site: Site, annotated: Sequence[int] = (), patient: str = ""
) -> tuple[dict[str, Array], Meta]:
    """Read a case and return its arrays by file name, and the facts for its ``meta.json``.

    Parameters
    ----------
    read : callable
        Returns the volume and the mask or class, if there is one. It is called here so that nobody else holds what it returns:
        a large volume is let go as soon as it is oriented and cropped.
    study : Study
        Names the task and how images are preprocessed.
    site : Site
        Says how large a prepared image may be.
    annotated : sequence of int
        Classes that were looked for in the case, empty for all: `medfl.data.classes.annotated_classes`.
    patient : str
        The patient's `split_order`; what a simulated scanner draws for one image depends on it.

    Raises
    ------
    DataError
        If `read` or `medfl.data.preprocess.steps.preprocess` raises it; ``PREP-SIZE`` and ``CASE-MEMORY``.
    """
    # here, because they import MONAI: seconds that a second start must not pay
    from medfl.data.preprocess.scanner_shift import with_own_scanner
    from medfl.data.preprocess.steps import normalize_and_resample, orient, orient_and_crop, to_contiguous

    volume, label = read()
    content = checksum_content(volume, label)
    volume = with_own_scanner(volume, site, study, f"{patient}\x1f{content[0]}")
    source = SourceGrid.of_volume(volume).to_facts()
    one_class = label if isinstance(label, int) else None
    volume, mask = orient(volume, label if isinstance(label, np.ndarray) else None, study)
    grid, affine, spacing = volume.shape, volume.affine, volume.spacing
    warnings = [[warning.code, warning.what, warning.fix] for warning in volume.warnings]
    mask = None if mask is None else to_contiguous(mask, np.uint8)  # it is read plane by plane, and written
    working = orient_and_crop(volume, mask, study)
    check_prepared_size(tuple(working.image.shape[1:]), spacing, study, site.data, masked=mask is not None)
    del volume, label
    prepared, prepared_mask = normalize_and_resample(working, study)
    moved = prepared.shape != grid or not np.allclose(prepared.affine, affine, rtol=0, atol=1e-6)
    arrays: dict[str, Array] = {"image": prepared.array}
    facts: Meta = {
        "label": one_class,
        "spacing": prepared.spacing,
        "affine": working.affine.tolist(),
        "source": source,
        "foreground": [],
        "present": [],
        "reference": None,
        "annotated": list(annotated),
        "content": content,
        "warnings": warnings,
    }
    if mask is not None and prepared_mask is not None:
        foreground, left = _sample_foreground(prepared_mask, study)
        arrays |= {"label": prepared_mask} | {f"fg_{index}": positions for index, positions in foreground.items()}
        present = _find_present(_count_voxels(mask, len(study.task.classes))) if moved else left
        told = warnings + _lost_classes(present - left, study)
        facts |= {"foreground": list(foreground), "present": sorted(present), "warnings": told}
        if study.task.dimension == 3 and moved:
            arrays["reference"] = mask
            facts["reference"] = {"affine": affine.tolist(), "spacing": spacing}
    return arrays, facts


def _sample_foreground(mask: Array, study: Study) -> tuple[dict[int, Array], set[int]]:
    """Return positions of each foreground class of a mask, and all classes that occur in it."""
    counts = _count_voxels(mask, len(study.task.classes))
    positions = {index: _sample_positions(mask, index, counts[:, index]) for index in range(1, len(study.task.classes))}
    return positions, _find_present(counts)


def _find_present(counts: NDArray[np.int64]) -> set[int]:
    """Return the classes that have voxels, from the result of `_count_voxels`."""
    return {int(index) for index in np.flatnonzero(counts.any(0))}


def _lost_classes(lost: Set[int], study: Study) -> list[list[str]]:
    """Return the warning about classes that are marked in a label and have no voxel left where they are learned."""
    names = [name for index, name in enumerate(study.task.classes) if index in lost and index]
    if not names:
        return []
    what = f"{', '.join(names)}: marked in the label, but crop and resampling leave no voxel of it to train on."
    return [["LBL-LOST", what, "If it matters, choose a finer preprocessing.spacing or size, or another crop, in the study."]]


def _count_voxels(mask: Array, classes: int) -> NDArray[np.int64]:
    """Return the voxels of each class in each plane of the first axis, (X, classes)."""
    if classes <= _MAX_COMPARED:
        return np.array([[np.count_nonzero(plane == index) for index in range(classes)] for plane in mask])
    return np.stack([np.bincount(plane.ravel(), minlength=classes)[:classes] for plane in mask])


def _sample_positions(mask: Array, index: int, in_planes: NDArray[np.int64]) -> Array:
    """Return at most `MAX_POSITIONS` voxel positions (n, D) of a class, the same ones every time, plane by plane."""
    count = int(in_planes.sum())
    chosen = np.arange(count)
    if count > MAX_POSITIONS:
        chosen = np.sort(np.random.default_rng(index).choice(count, MAX_POSITIONS, replace=False))
    starts = np.concatenate([[0], np.cumsum(in_planes)])
    positions = []
    for plane in np.flatnonzero(in_planes):
        ranks = chosen[np.searchsorted(chosen, starts[plane]) : np.searchsorted(chosen, starts[plane + 1])] - starts[plane]
        if len(ranks):
            inside = np.unravel_index(np.flatnonzero(mask[plane] == index)[ranks], mask.shape[1:])
            positions.append(np.stack([np.full(len(ranks), plane), *inside], axis=1))
    kind = np.int16 if max(mask.shape) <= np.iinfo(np.int16).max else np.int32
    return np.concatenate(positions).astype(kind) if positions else np.zeros((0, mask.ndim), kind)
