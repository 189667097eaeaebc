"""Which DICOM-SEG or RTSTRUCT was drawn on which series: told by the images it refers to, never by the order of files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from medfl.data.cases import Source
from medfl.data.dicom.checks import check_series
from medfl.data.dicom.references import Drawn, check_drawn
from medfl.data.index.rows import Item
from medfl.data.layouts.entries import no_label
from medfl.data.layouts.objects import Found
from medfl.errors import DataError
from medfl.site import SiteData


def labels_of(found: Found, how: SiteData) -> tuple[dict[str, Source | DataError], list[DataError]]:
    """Match labels and series.

    A label belongs to the one series that holds all the images it refers to. One that refers to no image here belongs to the
    one series in its frame of reference, and only if the site says so (``label-match``).

    Parameters
    ----------
    found : Found
        The objects of a folder.
    how : SiteData
        Says how labels are matched.

    Returns
    -------
    labels : dict of str to Source or DataError
        The label of each series by its UID, or why it has none.
    warnings : list of DataError
        About labels that belong to no series here.
    """
    fitting: dict[str, list[Drawn]] = defaultdict(list)
    wrong: dict[str, DataError] = {}
    orphans = 0
    owners = _owners(found.series)
    for drawn in found.labels:
        shared = Counter(uid for image in drawn.images for uid in owners.get(image, ()))
        whole = sorted(uid for uid, count in shared.items() if count == len(drawn.images))
        if len(whole) == 1:
            fitting[whole[0]].append(drawn)
        elif whole:
            wrong |= {uid: _ambiguous(len(whole), "hold the images it refers to") for uid in whole}
        elif shared:
            wrong |= {uid: problem for uid in shared if (problem := _problem(drawn, found.series[uid], how))}
        elif drawn.images.isdisjoint(found.elsewhere):  # else it was drawn on images of another kind
            orphans += not _in_frame(drawn, found, how, fitting, wrong)
    labels = {uid: _label(fitting[uid], wrong.get(uid)) for uid in found.series}
    return labels, [_orphaned(orphans)] if orphans else []


def is_unlabelled(label: Source | str | DataError) -> bool:
    """Return whether there is no label at all, rather than one that can not be used."""
    return isinstance(label, DataError) and label.code == "LBL-MISSING"


def _owners(series: Mapping[str, Sequence[Item]]) -> dict[str, set[str]]:
    owners: dict[str, set[str]] = defaultdict(set)
    for uid, items in series.items():
        for item in items:
            owners[item.text("SOPInstanceUID")].add(uid)
    return owners


def _in_frame(drawn: Drawn, found: Found, how: SiteData, fitting: dict[str, list[Drawn]], wrong: dict[str, DataError]) -> bool:
    """Place a label that refers to no image here by its frame of reference; return whether a series shares it."""
    near = [
        uid
        for uid, items in sorted(found.series.items())
        if drawn.frame_of_reference and _frame(items) == drawn.frame_of_reference
    ]
    if not near:
        return False
    if len(near) > 1:
        wrong.setdefault(near[0], _ambiguous(len(near), "lie in its frame of reference, and it refers to none of their images"))
    elif problem := _problem(drawn, found.series[near[0]], how):
        wrong.setdefault(near[0], problem)
    else:
        fitting[near[0]].append(drawn)
    return True


def _problem(drawn: Drawn, items: Sequence[Item], how: SiteData) -> DataError | None:
    try:
        check_drawn(drawn, {item.text("SOPInstanceUID") for item in items}, _frame(items), how)
    except DataError as error:
        return _series_problem(items, how) or error  # lost slices explain why the label refers to more than there is
    return None


def _series_problem(items: Sequence[Item], how: SiteData) -> DataError | None:
    try:
        check_series([item.header for item in items], how)
    except DataError as error:
        return error
    return None


def _frame(items: Sequence[Item]) -> str:
    frames = {item.text("FrameOfReferenceUID") for item in items}
    return frames.pop() if len(frames) == 1 else ""


def _label(fitting: Sequence[Drawn], wrong: DataError | None) -> Source | DataError:
    if len(fitting) > 1:
        what = f"{len(fitting)} segmentations were drawn on this series."
        return DataError("LBL-SEVERAL", what, "Keep the one that is meant in the folder, or name it in an index.")
    if fitting:
        return Source("dicom", (fitting[0].path,))
    return wrong or no_label()


def _ambiguous(count: int, why: str) -> DataError:
    return DataError("LBL-WRONG-SERIES", f"the label fits {count} series, which {why}.", "Name series and label in an index.")


def _orphaned(count: int) -> DataError:
    what = f"{count} label(s) refer to no image that lies here and are passed over."
    return DataError("LBL-WRONG-SERIES", what, "Export the images that they were drawn on, too.")
