"""Inference of a task from a data folder, so that a hospital can check its data before any study exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from medfl.data.cases import Cohort, Source
from medfl.data.cohort import read_cohort
from medfl.data.dicom.headers import PROJECTION_MODALITIES, looks_like_dicom, read_header
from medfl.data.image_files import IMAGE_SUFFIXES
from medfl.data.index.case_records import ASSUMED_STUDY
from medfl.data.index.file_index import Progress
from medfl.data.index.walk import SkippedFolders
from medfl.data.layouts.channels import names_in_patterns
from medfl.data.layouts.detect import require_readable
from medfl.data.layouts.sources import NIFTI_SUFFIXES, visible_files
from medfl.data.library_output import silence_libraries
from medfl.data.nifti import read_nifti_shape, read_nifti_values
from medfl.data.quality.dataset_names import infer_mask_classes, read_channel_names, read_index_classes, read_stated_modality
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study
from medfl.study.task import Modality

_MAX_FILES = 2000  # files that are looked at to infer the kind of the data
_AIR_HU = -500.0  # Hounsfield units: values this low mean a CT
STUDY_MODALITIES: dict[str, Modality] = {"CT": "CT", "MR": "MR", "US": "US", **dict.fromkeys(PROJECTION_MODALITIES, "XR")}
_NO_STUDY = "No study was named, so the task was inferred from what lies in the data folder."


def infer_study(
    site: Site, indexing: Progress | None = None, modality: Modality | None = None
) -> tuple[Study, tuple[str, ...]]:
    """Assume a study that fits the data of a site.

    The modality is the most frequent one of the DICOM headers, or what the data says of itself; the dimension follows from the
    kind of the files; it is segmentation where masks belong to the images and classification where an index names classes,
    whichever gives more usable cases.

    Parameters
    ----------
    site : Site
        The hospital.
    indexing : callable, optional
        Called with (files read, files to read) while headers are read.
    modality : str, optional
        Modality to look at, whatever is most frequent.

    Returns
    -------
    study : Study
        Study with a task that fits, and defaults for everything else.
    assumed : tuple of str
        What was assumed and why, in sentences.

    Raises
    ------
    DataError
        The error of `medfl.data.cohort.read_cohort`, when no assumption leads to a case.
    """
    require_readable(site)
    dicom, flat = _count_files(site)
    modality, because = _infer_modality(site, dicom, modality)
    dimension = 2 if flat or (dicom and modality in ("XR", "US")) else 3
    texts = read_index_classes(site)
    cohort, study, refused = None, None, None
    for candidate in _candidate_studies(site, dimension, modality, texts):
        try:
            found = read_cohort(site, candidate, indexing, inferred=True)
        except DataError as error:
            refused = refused or error
            continue
        # without any case, an index that gives classes says more than nothing at all does
        if cohort is None or len(found.cases) > len(cohort.cases) or not (found.cases or cohort.cases):
            cohort, study = found, candidate
    if cohort is None or study is None:
        assert refused is not None
        raise refused
    return _refine_study(site, cohort, study, because)


def _count_files(site: Site) -> tuple[Counter[str], bool]:
    """Return the modalities of the first DICOM files by count, and whether most of the other images are 2-D files."""
    dicom: Counter[str] = Counter()
    volumes = pictures = 0
    if not site.root.is_dir():
        return dicom, False
    try:
        for path in islice(visible_files(site.root, SkippedFolders()), _MAX_FILES):
            name = path.name.lower()
            if name.endswith(NIFTI_SUFFIXES):
                volumes += 1
            elif name.endswith(IMAGE_SUFFIXES):
                pictures += 1
            elif looks_like_dicom(path) or (site.data.allow_headerless and "." not in name.removesuffix(".dcm")):
                header = read_header(path, force=site.data.allow_headerless)
                modality = STUDY_MODALITIES.get(header.text("Modality").upper()) if header else None
                dicom.update([modality] if modality else [])
    except OSError:
        pass  # reading the cohort reports it
    return dicom, pictures > volumes and not dicom


def _infer_modality(site: Site, dicom: Counter[str], chosen: Modality | None) -> tuple[Modality, str]:
    if dicom:
        name = chosen or dicom.most_common(1)[0][0]
        rest = [f"{number} {other}" for other, number in dicom.most_common() if other != name]
        passed = f"; there are also {', '.join(rest)}: choose with '--modality'" if rest else ""
        because = f"the headers of {dicom[name]} of {dicom.total()} DICOM images say so{passed}"
        return STUDY_MODALITIES.get(name, "XR"), f"chosen by '--modality'; {because}" if chosen else because
    if chosen:
        return chosen, "chosen by '--modality'"
    stated = read_stated_modality(site.root)
    return stated or ("MR", "")


def _candidate_studies(site: Site, dimension: int, modality: Modality, texts: tuple[str, ...]) -> list[Study]:
    masks = make_study("segmentation", dimension, modality, ("background", "marked"))
    named = site.classes or texts
    candidates = [
        masks.model_copy(update={"task": masks.task.model_copy(update={"classes": site.classes or masks.task.classes})})
    ]
    if len(texts) >= 2 and len(named) >= 2:
        candidates.append(make_study("classification", dimension, modality, named))
    return candidates


def _refine_study(site: Site, cohort: Cohort, study: Study, because: str) -> tuple[Study, tuple[str, ...]]:
    """Return what follows from the cases themselves: dimension, modality, channels, and the names of classes."""
    task = study.task
    images = [case.image for case in cohort.cases]
    masks = [case.label for case in cohort.cases if isinstance(case.label, Source)]
    flat = _is_mostly_2d(images, task.dimension)
    modality = task.modality
    if not because:
        modality, because = _guess_modality(images, flat=flat)
    classes, named = task.classes, "the texts of the index"
    if task.kind == "segmentation":
        classes, named = infer_mask_classes(site, masks)
    channels = _name_channels(site, images)
    assumed = make_study(task.kind, 2 if flat else 3, modality, classes, channels)
    if task.kind == "classification":
        why = f"column {site.data.label!r} of the index gives classes"
    else:
        why = "the labels are masks" if masks else "assumed, as no index gives classes"
    about_kind = f"{task.kind.capitalize()}: {why}."
    about_classes = (
        f"Classes: {', '.join(classes)}; from {named}." if named else "Classes: unknown, since no mask could be read."
    )
    if images or any(finding.code != "IMG-MISSING" for finding in cohort.findings if finding.case):
        about_dimension = f"{'2-D: most cases are single images' if flat else '3-D: most cases are volumes'}."
        sentences = [about_kind, about_dimension, f"{modality}: {because}.", about_classes]
    else:
        told = [about_kind, about_classes] if task.kind == "classification" else []
        sentences = ["No image was found: what kind they are is not known.", *told]
    sentences += [f"Channels: {', '.join(channels)}."] if len(channels) > 1 else []
    return assumed, (_NO_STUDY, *sentences)


def _name_channels(site: Site, images: Sequence[Source]) -> tuple[str, ...]:
    """Return the names of the channels as site, data set or index give them, or numbers where nothing names them."""
    for names in (site.data.channels, read_channel_names(site.root), names_in_patterns(site.data.image)):
        if len(names) > 1 and len({name.casefold() for name in names}) == len(names):
            return names
    count = max([len(source.paths) for source in images if source.kind != "dicom"] + [len(read_channel_names(site.root)), 1])
    return tuple(f"channel {number}" for number in range(1, count + 1))


def _is_mostly_2d(images: Sequence[Source], guess: int) -> bool:
    kinds = Counter(source.kind for source in images)
    if not kinds or kinds.most_common(1)[0][0] == "dicom":
        return guess == 2
    if kinds.most_common(1)[0][0] == "image":
        return True
    return _count_nifti_axes(next(source.paths[0] for source in images if source.kind == "nifti")) == 2


def _count_nifti_axes(path: Path) -> int:
    try:
        with silence_libraries():
            shape = read_nifti_shape(path)
    except Exception:  # reading the case shows what is wrong
        return 3
    return sum(count > 1 for count in shape[:3])


def _guess_modality(images: Sequence[Source], *, flat: bool) -> tuple[Modality, str]:
    if flat:
        return "XR", "image files do not tell the modality; it changes nothing in this check"
    for source in images[:1]:
        try:
            with silence_libraries():
                lowest = float(read_nifti_values(source.paths[0]).min())
        except Exception:  # reading the case shows what is wrong
            break
        if lowest <= _AIR_HU:
            return "CT", "NIfTI does not tell the modality, and the first image has values as low as air in a CT"
    return "MR", "NIfTI does not tell the modality, and the first image has no values as low as air in a CT"


def make_study(kind: str, dimension: int, modality: str, classes: tuple[str, ...], channels: Sequence[str] = ()) -> Study:
    """Make a study of a task, with everything else as it is by default."""
    masks = kind == "segmentation"
    named = tuple(channels) if len(channels) > 1 else 1
    values = {
        "name": "assumed",
        "rounds": 1,
        "task": {"kind": kind, "dimension": dimension, "modality": modality, "classes": classes, "channels": named},
        "network": {"name": "unet" if masks else "cnn"},
        "loss": {"name": "dice-ce" if masks else "cross-entropy"},
        "preprocessing": {} if masks else {"size": (64,) * dimension},
    }
    return Study.model_validate(values).model_copy(update={"name": ASSUMED_STUDY})
