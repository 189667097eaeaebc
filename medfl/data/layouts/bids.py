"""Layout `bids`: Brain Imaging Data Structure, anatomical images, with masks in the same folder or in its derivatives.

The specification is at https://bids-specification.readthedocs.io; what medfl needs of it is a handful of file names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.layouts.bids_names import DESCRIPTION_FILE, bids_suffix, split_bids_name
from medfl.data.layouts.channels import names_in_patterns
from medfl.data.layouts.entries import Entry, Listing, missing_image_error, missing_label_error
from medfl.data.layouts.sources import NIFTI_SUFFIXES, make_source
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study

_MASK_SUFFIXES = ("dseg", "mask")  # BIDS' suffixes; a discrete segmentation is preferred
_NO_IMAGES = (*_MASK_SUFFIXES, "defacemask", "probseg")
_KIND_ENTITIES = ("ce", "part", "mod", "inv")  # entities of BIDS by which images of one suffix differ in kind
_DEFAULTS = SiteData()  # the defaults of 'image' and 'label' mean: whatever there is


def is_bids(root: Path) -> bool:
    """Return whether a folder is a BIDS data set."""
    return (root / DESCRIPTION_FILE).is_file() and any(root.glob("sub-*/"))


def list_bids(site: Site, study: Study) -> Listing:
    """List one case for each subject and session.

    The site's `image` chooses a suffix or pattern, for example ``"T1w"``, or ``"T1w,FLAIR"`` for two channels; without it, the
    names of the study's channels do. `label` chooses a mask. In classification, `label` and `patient` name columns of
    ``participants.tsv``.
    """
    root = site.root
    images, masks = _files_by_session(root), _files_by_session(root, "derivatives/*/", masks=True)
    for session, files in _files_by_session(root, masks=True).items():
        masks[session] += files
    named = site.data.image != _DEFAULTS.image
    wanted = [part.strip() for part in site.data.image.split(",")] if named else list(study.task.channel_names) or ["*"]
    entries = []
    for session in sorted(set(images) | set(masks)):
        subject = session[0]
        label: Source | str | DataError = ""  # classes come from participants.tsv
        if study.task.kind == "segmentation":
            label = _find_label(masks.get(session, []), site.data.label)
        elif session not in images:
            continue
        entries.append(
            Entry("/".join(session), subject.removeprefix("sub-"), _find_image(images.get(session, []), wanted), label)
        )
    if wanted == ["*"]:
        entries = _refuse_mixed_kinds(entries)
    return Listing(tuple(entries), patient_ids=True, channels=names_in_patterns(",".join(wanted)))


def _files_by_session(root: Path, above: str = "", *, masks: bool = False) -> defaultdict[tuple[str, str], list[Path]]:
    found: defaultdict[tuple[str, str], list[Path]] = defaultdict(list)
    for pattern in ("sub-*/anat/*", "sub-*/ses-*/anat/*"):
        for path in sorted(root.glob(above + pattern)):
            if (
                path.name.startswith("sub-")
                and path.name.endswith(NIFTI_SUFFIXES)
                and (bids_suffix(path) in _MASK_SUFFIXES if masks else bids_suffix(path) not in _NO_IMAGES)
            ):
                parts = path.relative_to(root).parts[:-2]
                session = parts[-1] if parts[-1].startswith("ses-") else ""
                subject = parts[-2] if session else parts[-1]
                found[subject, session].append(path)
    return found


def _find_image(files: Sequence[Path], wanted: Sequence[str]) -> Source | DataError:
    chosen: list[Path] = []
    for pattern in wanted:
        matching = [path for path in files if _matches(path, pattern)]
        if not matching:
            return missing_image_error()
        if len(matching) > 1:
            what = f"{len(matching)} anatomical images of one session fit."
            return DataError("IMG-SEVERAL", what, "Set 'image' in site.toml to the suffix that is meant, for example T1w.")
        chosen += matching
    return _try_source(tuple(chosen), "IMG-MISSING")


def _refuse_mixed_kinds(entries: Sequence[Entry]) -> list[Entry]:
    """Refuse images of several kinds, where each is taken because it is the only one of its session."""
    kinds = {entry.key: _kind(entry.image.paths[0]) for entry in entries if isinstance(entry.image, Source)}
    if len(set(kinds.values())) < 2:
        return list(entries)
    what = f"the sessions have images of {len(set(kinds.values()))} different kinds, and which is meant is not said."
    error = DataError("IMG-SEVERAL", what, "Set 'image' in site.toml to the suffix that is meant, for example T1w.")
    return [
        replace(entry, image=error, image_files=entry.image.paths) if isinstance(entry.image, Source) else entry
        for entry in entries
    ]


def _kind(path: Path) -> tuple[str, ...]:
    return (bids_suffix(path), *(entity for entity in split_bids_name(path) if entity.partition("-")[0] in _KIND_ENTITIES))


def _find_label(files: Sequence[Path], wanted: str) -> Source | DataError:
    matching = [path for path in files if wanted == _DEFAULTS.label or _matches(path, wanted)]
    for suffix in _MASK_SUFFIXES:
        of_kind = [path for path in matching if bids_suffix(path) == suffix]
        if len(of_kind) > 1:
            return DataError("LBL-SEVERAL", f"{len(of_kind)} masks of one session fit.", "Set 'label' in site.toml.")
        if of_kind:
            return _try_source((of_kind[0],), "LBL-MISSING")
    return missing_label_error()


def _try_source(paths: tuple[Path, ...], code: str) -> Source | DataError:
    """Tell what kind of files these are; links that lead nowhere, as DataLad leaves them, are the case's own problem."""
    try:
        return make_source(paths, code)
    except DataError as error:
        return error


def _matches(path: Path, pattern: str) -> bool:
    if bids_suffix(path) == pattern.lower():
        return True
    return fnmatchcase(path.name, pattern) or fnmatchcase(path.name, f"*_{pattern}_*")
