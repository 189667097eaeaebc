"""Names of classes: at the site, in the study, and in the files that other programs wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medfl.data.findings import Finding
from medfl.data.mask_values import format_values
from medfl.data.spelling import find_name
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

WILDCARD = "*"  # in label-names: every name that is none of the others
IGNORE = "ignore"  # nnU-Net's word for voxels that nobody looked at


def names_to_classes(names: Sequence[str], study: Study, site: Site, things: str) -> list[int]:
    """Return the class that each name of a label file stands for, whatever the case of its letters.

    A name is looked up in ``label-names`` of the site, in the classes of the site, and in those of the study.

    Parameters
    ----------
    names : sequence of str
        Free text of the file: it may say anything, so it is never repeated in an error.
    study, site
        Name the classes.
    things : str
        What has these names, for the error: ``"segments"``.

    Returns
    -------
    list of int
        0 is the background.

    Raises
    ------
    DataError
        ``LBL-CLASSNAME``.
    """
    found = [_name_to_class(name, study, site) for name in names]
    unknown = sum(value is None for value in found)
    if unknown:
        foreground = ", ".join(study.task.foreground)
        what = f"{unknown} of {len(names)} {things} have a name that is none of {foreground}."
        fix = (
            f'Map the names in site.toml, as label-names = {{Tumour = "{study.task.foreground[0]}"}}; '
            f'"{WILDCARD}" = "{study.task.classes[0]}" leaves all others out.'
        )
        raise DataError("LBL-CLASSNAME", what, fix)
    return [value for value in found if value is not None]


def names_a_foreground(name: str, study: Study, site: Site) -> bool:
    """Return whether a name of a label file stands for a class other than the background."""
    return bool(_name_to_class(name, study, site))


def _name_to_class(name: str, study: Study, site: Site) -> int | None:
    theirs, ours = [pair[0] for pair in site.data.label_names], [pair[1] for pair in site.data.label_names]
    position = find_name(name, theirs)
    if position is not None:
        return _mapped_class(ours[position], study, site)
    found = find_class(name, study.task.classes, site.classes)
    if found is None and WILDCARD in theirs:
        return _mapped_class(ours[theirs.index(WILDCARD)], study, site)
    return found


def _mapped_class(name: str, study: Study, site: Site) -> int | None:
    """Return the class that ``label-names`` gives: its values are names of the study, though the site's will do."""
    found = find_name(name, study.task.classes)
    return find_class(name, study.task.classes, site.classes) if found is None else found


def find_class(text: str, classes: Sequence[str], local: Sequence[str] = ()) -> int | None:
    """Return the class that a text names, None when it names none.

    A text is a name, also when it is a number: it never stands for a position.

    Parameters
    ----------
    text : str
        A name of the site, or one of the study.
    classes : sequence of str
        Names of the study.
    local : sequence of str
        Names that the site uses, in the order of the study's; empty when they are the same. Where one of them is the study's
        name of another class, the study's names do not count: nobody could tell which is meant.

    Examples
    --------
    >>> find_class("1", ["1", "2"]), find_class("1", ["1", "2"], ["0", "1"]), find_class("2", ["1", "2"], ["0", "1"])
    (0, 1, None)
    """
    return _find_class(text, tuple(classes), tuple(local))


@lru_cache(maxsize=4096)  # thousands of rows have a few texts
def _find_class(text: str, classes: tuple[str, ...], local: tuple[str, ...]) -> int | None:
    found = find_name(text, local)
    crossed = any(find_name(name, classes) not in (None, k) for k, name in enumerate(local))
    return find_name(text, classes) if found is None and not crossed else found


def format_classes(study: Study) -> str:
    """Return what the values of a mask mean in a study, as text: ``0=background, 1=liver``."""
    return ", ".join(f"{value}={name}" for value, name in enumerate(study.task.classes))


def values_to_classes(counts: Mapping[int, int], names: Iterable[tuple[int, str]], study: Study, site: Site) -> dict[int, int]:
    """Return the class that each value of a mask stands for.

    Parameters
    ----------
    counts : mapping of int to int
        Values that occur, with their number of voxels.
    names : iterable of (int, str)
        What the values mean, where the data set says it. Only those that occur need to be classes. Without any, the values
        are the classes of the study.
    study, site
        Name the classes.

    Raises
    ------
    DataError
        ``LBL-CLASSNAME``; ``LBL-VALUES`` for values that mean nothing; ``LBL-UNANNOTATED`` when voxels are marked as not
        looked at (``ignore``).
    """
    said = dict(names)
    if not said:
        known = {value: value for value in range(len(study.task.classes))}
    else:
        said = {0: study.task.classes[0]} | said
        value_names = {value: name for value, name in said.items() if value in counts}
        _refuse_ignored_voxels(counts, value_names, study, site)
        known = dict(zip(value_names, names_to_classes(list(value_names.values()), study, site, "values"), strict=True))
    unknown = [value for value in counts if value not in known]
    if unknown:
        allowed = (
            f"the data set names only {format_values(said, ())}" if said else f"the study declares {format_classes(study)}"
        )
        what = f"the label holds values {format_values(counts, unknown)}, but {allowed}."
        raise DataError("LBL-VALUES", what, "Export the label with the values of the study, and not as JPEG.")
    return {value: known[value] for value in counts}


def _refuse_ignored_voxels(counts: Mapping[int, int], value_names: Mapping[int, str], study: Study, site: Site) -> None:
    ignored = [
        v for v, name in value_names.items() if name.strip().casefold() == IGNORE and _name_to_class(name, study, site) is None
    ]
    if ignored:
        share = 100 * sum(counts[value] for value in ignored) / sum(counts.values())
        what = f"{share:.3g} % of the voxels are marked as '{IGNORE}', and training cannot leave voxels out yet."
        raise DataError("LBL-UNANNOTATED", what, "Leave the case out of the index, or have it annotated completely.")


def annotated_classes(annotated: Sequence[str], study: Study, site: Site) -> tuple[int, ...]:
    """Return the foreground classes that somebody looked for in a case, empty for all: unknown is not background.

    Parameters
    ----------
    annotated : sequence of str
        What the index says of the case; when empty, the site's word counts, and when that is empty too, all were looked for.
    study, site
        Name the classes.

    Raises
    ------
    DataError
        ``LBL-UNANNOTATED`` when there is none, or ``LBL-CLASSNAME`` for a name that is no class.
    """
    names = annotated or site.data.annotated_classes
    if not names or study.task.kind != "segmentation":
        return ()
    values = sorted(set(names_to_classes(names, study, site, "annotated classes")) - {0})
    if not values:
        what = "nobody looked for a class of the study in this case."
        raise DataError("LBL-UNANNOTATED", what, "Leave the case out of the index, or have it annotated.")
    return () if len(values) == len(study.task.foreground) else tuple(values)


def drop_unannotated(
    mask: NDArray[np.uint8], annotated: Sequence[int], study: Study
) -> tuple[NDArray[np.uint8], list[Finding]]:
    """Take out of a mask what is said not to have been looked for, with a warning.

    Parameters
    ----------
    mask : ndarray of uint8
        Class of each voxel.
    annotated : sequence of int
        Annotated classes, as `annotated_classes` returns them.
    study : Study
        Names the classes.
    """
    others = [value for value in range(1, len(study.task.classes)) if annotated and value not in annotated]
    marked = [value for value in others if (mask == value).any()]
    if not marked:
        return mask, []
    names = ", ".join(study.task.classes[value] for value in marked)
    what = f"the mask marks {names}, which the site says nobody looked for here; what it marks is not used."
    fix = "If they were annotated, add them to 'annotated' in the index or 'annotated-classes' in site.toml."
    return np.where(np.isin(mask, marked), np.uint8(0), mask), [Finding.warning("LBL-BEYOND", what, fix)]
