"""Names of mask files: a mask is not that of the study's class because it is the only one that lies there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.layouts.bids_names import split_bids_name
from medfl.data.layouts.entries import Listing
from medfl.data.layouts.named_things import ClassNames, name_words
from medfl.data.layouts.structure_words import THINGS
from medfl.data.layouts.visits import names_visit
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study
from medfl.system.text import plural

_BIDS_ENTITIES = ("desc", "label", "roi", "seg", "atlas")  # entities of BIDS that say what a mask shows
_BIDS_LABELS = {"L": "lesion", "B": "bone", "V": "vessel"}  # single letters that BIDS defines


def check_mask_names(listing: Listing, site: Site, study: Study, layout: str) -> Listing:
    """Return a listing without the masks whose names say that they show something else than the study's classes.

    Only where a layout finds masks by itself, `label` in site.toml names none, and nothing says what their values mean. A name
    that may be right is used, with a warning (`medfl.data.layouts.named_things`).

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
        With ``LBL-NAME`` in place of such masks, or as a warning.
    """
    if layout not in ("bids", "folders") or study.task.kind != "segmentation" or site.data.label != SiteData().label:
        return listing
    names = ClassNames(_names_of_classes(site, study))
    entries, told = [], list[frozenset[str]]()
    for entry in listing.entries:
        mask = entry.label
        if isinstance(mask, Source) and mask.kind != "dicom" and not mask.names:
            words = _bids_words(mask.paths[0]) if layout == "bids" else _file_words(mask.paths[0], site.root, entry.patient)
            notes = names.judge(words)
            if notes is None:
                entry = replace(entry, label=_other_name_error(), label_files=mask.paths)
            elif notes:
                told.append(notes)
        entries.append(entry)
    warnings = (*listing.warnings, *([_unclear_warning(told, study)] if told else []))
    return replace(listing, entries=tuple(entries), warnings=warnings)


def _names_of_classes(site: Site, study: Study) -> list[set[str]]:
    """Return what each foreground class of the study is called there and here."""
    classes = [{name} for name in study.task.foreground]
    for names, local in zip(classes, site.classes[1:], strict=False):
        names.add(local)
    for local, name in site.data.label_names:
        if name in study.task.foreground:
            classes[study.task.foreground.index(name)].add(local)
    return classes


def _bids_words(path: Path) -> list[str]:
    entities = (part.partition("-") for part in split_bids_name(path))
    told = [_BIDS_LABELS.get(value, value) for key, _, value in entities if key in _BIDS_ENTITIES]
    return [word for value in told for word in name_words(value)]


def _file_words(path: Path, root: Path, patient: str) -> list[str]:
    """Return the words of a file's name, and of folders below the first, without visits and the patient's name."""
    name = name_words(patient)
    others = {word for word in name if (word,) not in THINGS}
    inner = [part for part in path.relative_to(root).parts[1:] if not names_visit(part)]
    return [word for part in inner for word in _without(name_words(part), name) if word not in others]


def _without(words: list[str], name: Sequence[str]) -> list[str]:
    """Return words without those of a name where they stand in its order: `brain` of `brain_7` alone is no patient's name."""
    for start in range(len(words) - len(name) + 1):
        if name and words[start : start + len(name)] == [*name]:
            return words[:start] + _without(words[start + len(name) :], name)
    return words


def _unclear_warning(told: Collection[frozenset[str]], study: Study) -> Finding:
    reasons = " or ".join(sorted(frozenset[str]().union(*told)))
    used = f"the only masks of {plural(len(told), 'case')} are used as {' and '.join(study.task.foreground)}"
    what = f"{used}, and their names {reasons}."
    fix = "If they show something else, name the files that are meant by 'label' in site.toml, as label = \"*_mask.nii.gz\"."
    return Finding.warning("LBL-NAME", what, fix)


def _other_name_error() -> DataError:
    return DataError(
        "LBL-NAME",
        "the only mask is named for something else than what the study asks for.",
        "If it is the right one, name its files by 'label' in site.toml, for example label = \"*_mask.nii.gz\"; "
        "if its name is what this site calls a class, set label-names.",
    )
