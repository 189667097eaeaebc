"""Names of mask files: a mask is not that of the study's class because it is the only one that lies there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.layouts.entries import Entry, Listing
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study

_BIDS_ENTITIES = ("desc", "label", "roi", "seg", "atlas")  # entities of BIDS that say what a mask shows
# words that say that a file is a mask, which one of several, who drew it, or on what
_NEUTRAL_TEXT = """
    mask masks seg segs segmentation segmentations segmented dseg label labels labeled labelled labelmap map roi rois
    contour contours outline annotation annotations annotated annot manual manually expert experts reader rater consensus
    gt ground truth groundtruth reference ref target final corrected edited reviewed checked binary bin drawn
    case subject sub subj patient pat pt id scan study exam session ses visit series slice image img volume vol data
    ct mr mri us xr xray pet flair dwi adc swi dce pd axial sagittal coronal left right native resampled space of the and
    anat nifti files preprocessed processed raw derivatives output results export
    nii gz png tif tiff bmp jpg jpeg
"""
_NEUTRAL = frozenset(_NEUTRAL_TEXT.split())
_MASK_ENDING = re.compile(r"_?(mask|seg|label)s?$")
_ID = re.compile(r"(?<![^\W\d_])[^\W\d_]{1,3}\d+")  # of a patient: a few letters and a number
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+|\d+")


def check_mask_names(listing: Listing, site: Site, study: Study, layout: str) -> Listing:
    """Return a listing without the masks whose names say that they show something else than the study's classes.

    Only where a layout finds masks by itself, `label` in site.toml names none, and nothing says what their values mean.

    Parameters
    ----------
    listing : Listing
        What the layout found.
    site, study : Site, Study
        Name the classes.
    layout : str
        Name of the layout.

    Returns
    -------
    Listing
        With ``LBL-NAME`` in place of such masks.
    """
    if layout not in ("bids", "folders") or study.task.kind != "segmentation" or site.data.label != SiteData().label:
        return listing
    classes = [{_join(name)} for name in study.task.foreground]
    for names, local in zip(classes, site.classes[1:], strict=False):
        names.add(_join(local))
    for local, name in site.data.label_names:
        if name in study.task.foreground:
            classes[study.task.foreground.index(name)].add(_join(local))

    def check(entry: Entry) -> Entry:
        mask = entry.label
        if not isinstance(mask, Source) or mask.kind == "dicom" or mask.names:
            return entry
        words = _bids_words(mask.paths[0]) if layout == "bids" else _file_words(mask.paths[0], site.root)
        if _says_classes(words, classes):
            return entry
        return replace(entry, label=_other_name_error(), label_files=mask.paths)

    return replace(listing, entries=tuple(map(check, listing.entries)))


def name_words(text: str) -> list[str]:
    """Return the words of a name in lower case, divided at signs, capitals and digits.

    Examples
    --------
    >>> name_words("desc-whiteMatter_T1w")
    ['desc', 'white', 'matter', 't', '1', 'w']
    """
    return [word.casefold() for word in _WORD.findall(text)]


def _bids_words(path: Path) -> list[str]:
    entities = (part.partition("-") for part in path.name.split(".")[0].split("_"))
    return [word for key, _, value in entities if key in _BIDS_ENTITIES for word in name_words(value)]


def _file_words(path: Path, root: Path) -> list[str]:
    """Return the words of a file's name, and of folders below its patient's, that the name of the patient's does not have."""
    patient, *inner = path.relative_to(root).parts
    above = {*name_words(patient)}
    return [word for part in inner for word in name_words(_ID.sub(" ", part)) if word not in above]


def _says_classes(words: Iterable[str], classes: Sequence[set[str]]) -> bool:
    """Return whether words say nothing of what a mask shows, or that it shows all classes of the study."""
    text = _join_telling(words)
    return not text or _names_all(text, classes)


def _names_all(text: str, classes: Sequence[set[str]]) -> bool:
    if not text:
        return not classes
    return any(
        _names_all(text[len(name) + len(plural) :], [*classes[:k], *classes[k + 1 :]])
        for k, names in enumerate(classes)
        for name in names
        for plural in ("", "s", "es")
        if name and text.startswith(name + plural)
    )


def _join(name: str) -> str:
    """Return the telling words of the name of a class without anything between them."""
    words = name_words(name)
    return _join_telling(words) or "".join(words)


def _join_telling(words: Iterable[str]) -> str:
    bare = [word if word in _NEUTRAL else _MASK_ENDING.sub("", word) for word in words]
    return "".join(word for word in bare if len(word) > 1 and not word.isdigit() and word not in _NEUTRAL)


def _other_name_error() -> DataError:
    return DataError(
        "LBL-NAME",
        "the only mask is named for something else than what the study asks for.",
        "If it is the right one, name its files by 'label' in site.toml, for example label = \"*_mask.nii.gz\"; "
        "if its name is what this site calls a class, set label-names.",
    )
