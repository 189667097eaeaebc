"""Check that a stack has one acquisition: that no two are woven into one another, each at its own slice spacing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.frames import frame_number
from medfl.data.dicom.headers import Header
from medfl.data.dicom.keywords import VOLUME_KEYWORDS
from medfl.data.dicom.multivolume import MIN_SUBSTACK, is_substack, separable_error
from medfl.data.dicom.partitions import are_woven, group_by_value, time_rank
from medfl.data.dicom.slice_stack import SLICE_DISTANCE_TOLERANCE, SliceStack, is_uniform
from medfl.data.dicom.value_texts import parse_number
from medfl.errors import DataError

FloatArray = NDArray[np.float64]

# Within one volume these may alternate from slice to slice: MR acquires a volume in interleaved packages.
_OF_PACKAGES = (
    "AcquisitionNumber",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
    "TriggerTime",
    "ImageTriggerDelay",
)
_OF_ANY_MODALITY = ("AcquisitionNumber",)
_MIN_RUN = 4  # slices that are numbered one after the other
_MIN_PAUSE = 5.0  # between two acquisitions, in steps between their slices
# SliceThickness of a volume in packages, by its slice spacing: wide gaps, but no overlap (else a package is a volume)
_PACKAGE_THICKNESS = (0.4, 1.05)


def check_one_acquisition(headers: Sequence[Header], stack: SliceStack) -> None:
    """Check that slices at different positions are not several acquisitions, each of them regular.

    What tells them apart is an attribute, or else the order in which the slices are numbered or acquired, or their spacing.

    Parameters
    ----------
    headers : sequence of Header
        The slices, sorted by position, none at the position of another.
    stack : SliceStack
        Their positions, in the same order.

    Raises
    ------
    DataError
        ``DCM-MULTIVOLUME``.
    """
    along, pixel_spacing = stack.positions_along_normal(), float(stack.pixel_spacings.min())
    if len(along) < 2 * MIN_SUBSTACK:
        return
    is_even = is_uniform(along, pixel_spacing)
    numbers = _slice_numbers(headers)
    for keyword in VOLUME_KEYWORDS:
        groups = list(group_by_value(headers, keyword).values())
        if not 1 < len(groups) < len(headers) or not _splits(groups, along, pixel_spacing, is_even=is_even):
            continue
        if is_even and keyword in _OF_PACKAGES and _is_in_packages(keyword, headers, along, numbers):
            continue
        raise separable_error([keyword], headers, len(groups))
    _check_one_contrast_agent(headers)
    runs = _unexplained_runs(headers, along, pixel_spacing, numbers, is_even=is_even)
    if runs:
        spacings = sorted(float(np.median(np.diff(along[run]))) for run in runs)
        what = f"the slices are {len(runs)} regular stacks within one another"
        what = f"{what} ({spacings[0]:.3g} to {spacings[-1]:.3g} mm), and no attribute tells them apart."
        raise DataError("DCM-MULTIVOLUME", what, "Export each acquisition or reconstruction as a series of its own.")


def is_told_apart(headers: Sequence[Header], stack: SliceStack) -> bool:
    """Return whether an attribute splits slices into stacks within one another, as acquisitions and packages are.

    Not of MR, where all packages of a volume have numbers and times of their own.
    """
    along, pixel_spacing = stack.positions_along_normal(), float(stack.pixel_spacings.min())
    if headers[0].text("Modality") == "MR":
        return False
    groups_by_keyword = [list(group_by_value(headers, keyword).values()) for keyword in VOLUME_KEYWORDS]
    return any(
        1 < len(groups) < len(headers) and _splits(groups, along, pixel_spacing, is_even=True) for groups in groups_by_keyword
    )


def _check_one_contrast_agent(headers: Sequence[Header]) -> None:
    """Refuse a stack that is partly before and partly after contrast, even if one part is above the other."""
    count = sum(bool(header.text("ContrastBolusAgent")) for header in headers)
    if MIN_SUBSTACK <= count <= len(headers) - MIN_SUBSTACK:
        raise separable_error(["ContrastBolusAgent"], headers, 2)


def _unexplained_runs(
    headers: Sequence[Header], along: FloatArray, pixel_spacing: float, numbers: Sequence[float] | None, *, is_even: bool
) -> list[list[int]]:
    """Return stacks within one another that no attribute tells apart: by number, by time, or by their spacing alone."""
    numbered, timed = _numbered_runs(numbers, along), _timed_runs(headers, along)
    if len(numbered) > 1 and are_woven(numbered) and not (is_even and _has_package_thickness(headers, along)):
        return numbered
    if len(timed) > 1 and are_woven(timed) and not (is_even and _is_in_packages("AcquisitionTime", headers, along, numbers)):
        return timed
    for count in (2, 3) if not is_even else ():
        runs = [list(range(first, len(along), count)) for first in range(count)]
        if all(len(run) >= _MIN_RUN and is_substack(along[run], pixel_spacing) for run in runs):
            return runs
    return []


def _splits(groups: Sequence[list[int]], along: FloatArray, pixel_spacing: float, *, is_even: bool) -> bool:
    """Return whether groups of slices lie within each other and are stacks of their own.

    If all slices together are evenly spaced, all groups must be; if not, the largest one is enough.
    """
    if not are_woven(groups):
        return False
    regular = [is_substack(along[group], pixel_spacing) for group in groups]
    return all(regular) if is_even else regular[int(np.argmax([len(group) for group in groups]))]


def _slice_numbers(headers: Sequence[Header]) -> list[float] | None:
    """Return InstanceNumber of slices, or the number of frames of one object; None when one is missing."""
    if len({header.path for header in headers}) == 1:
        return [float(frame_number(header)) for header in headers]
    numbers = [parse_number(header.text("InstanceNumber")) for header in headers]
    known = [number for number in numbers if number is not None]
    return known if len(known) == len(headers) else None


def _is_in_packages(keyword: str, headers: Sequence[Header], along: FloatArray, numbers: Sequence[float] | None) -> bool:
    """Return whether slices with alternating values are packages of one volume: numbered, or as thick, as one volume is."""
    is_mr = headers[0].text("Modality") == "MR"
    if not is_mr and keyword not in _OF_ANY_MODALITY:
        return False
    steps = np.diff(numbers) if numbers else np.zeros(1)
    return bool((steps > 0).all() or (steps < 0).all()) or _has_package_thickness(headers, along)


def _has_package_thickness(headers: Sequence[Header], along: FloatArray) -> bool:
    if headers[0].text("Modality") != "MR":
        return False
    spacing = float(np.median(np.diff(along)))
    thicknesses = [parse_number(header.text("SliceThickness")) for header in headers]
    low, high = (factor * spacing for factor in _PACKAGE_THICKNESS)
    known = [thickness for thickness in thicknesses if thickness is not None]
    return not known or (len(known) == len(headers) and all(low <= thickness <= high for thickness in known))


def _numbered_runs(numbers: Sequence[float] | None, along: FloatArray) -> list[list[int]]:
    """Return the stacks that slices make in the order of their numbers, or nothing when they are not all in such a stack.

    Within a stack all steps are equal. Where each number occurs several times, each time is of another stack.
    """
    if numbers is None:
        return []
    repeats = {numbers.count(number) for number in numbers}
    if len(repeats) == 1 and (count := repeats.pop()) > 1:
        steps = np.diff(numbers)
        is_in_order = bool((steps >= 0).all() or (steps <= 0).all())
        runs = [list(range(first, len(along), count)) for first in range(count)] if is_in_order else []
    else:
        runs = _split_at_steps([int(index) for index in np.argsort(numbers, kind="stable")], along)
    return [sorted(run) for run in runs] if all(len(run) >= _MIN_RUN for run in runs) else []


def _timed_runs(headers: Sequence[Header], along: FloatArray) -> list[list[int]]:
    """Return the stacks that slices make in order of time, if a pause lies between them: not odd slices, then even ones."""
    times = [time_rank(header.text("AcquisitionTime")) for header in headers]
    known = np.array([time for time in times if time is not None])
    if len(known) < len(headers) or len(set(times)) < len(headers):
        return []
    order = np.argsort(known)
    runs = _split_at_steps([int(index) for index in order], along)
    starts = np.cumsum([len(run) for run in runs])[:-1]
    steps = np.diff(known[order])
    pauses = steps[starts - 1]
    others = np.delete(steps, starts - 1)
    if not len(pauses) or not len(others) or pauses.min() < _MIN_PAUSE * others.max():
        return []
    return [sorted(run) for run in runs] if all(len(run) >= _MIN_RUN for run in runs) else []


def _split_at_steps(order: Sequence[int], along: FloatArray) -> list[list[int]]:
    runs: list[list[int]] = [[order[0]]]
    for index in order[1:]:
        run = runs[-1]
        step = along[index] - along[run[-1]]
        expected = along[run[1]] - along[run[0]] if len(run) > 1 else step
        if abs(step - expected) > SLICE_DISTANCE_TOLERANCE * abs(expected):
            runs.append([index])
        else:
            run.append(index)
    return runs
