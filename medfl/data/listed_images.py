"""How many images and patients the layout of a data folder finds, before there is any study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.index.file_index import FileIndex
from medfl.data.layouts.csv import as_unlabelled
from medfl.data.layouts.detect import list_images
from medfl.data.layouts.entries import Listing
from medfl.data.layouts.patients import unite_patients
from medfl.data.quality.study_inference import STUDY_MODALITIES, make_study
from medfl.errors import DataError
from medfl.site import Site
from medfl.study.task import Modality


@dataclass(frozen=True)
class ListedImages:
    """Images of a data folder that a study could use as far as names and headers tell.

    Parameters
    ----------
    images : int
        Those found; in folders of DICOM, series of the most frequent modality.
    missing : int
        Those that should be there and were not found, or cannot be used.
    masks : int
        Images with a mask.
    patients : int
        Their patients; an image without an id counts as one.
    patient_ids : bool
        Whether the data names its patients.
    problems : mapping of str to int
        Codes of why images cannot be used, and of how many.
    """

    images: int
    missing: int
    masks: int
    patients: int
    patient_ids: bool
    problems: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownImages:
    """What the layout of a data folder finds.

    Parameters
    ----------
    counts : ListedImages
        Images and patients.
    listing : Listing
        The images.
    modality : str
        Modality of those that are DICOM.
    """

    counts: ListedImages
    listing: Listing
    modality: Modality


def list_known_images(site: Site, layout: str, index: FileIndex) -> tuple[KnownImages | None, Finding | None]:
    """Find images and patients, and masks where there are any; where that is impossible, say why.

    Parameters
    ----------
    site : Site
        The hospital.
    layout : str
        Name of its layout.
    index : FileIndex
        Index of its data folder.
    """
    seen = Counter(STUDY_MODALITIES.get(item.modality) for item in index.seen().values() if item.kind == "dicom")
    modality: Modality = next((name for name, _ in seen.most_common() if name), "MR")
    dimension = 2 if modality in ("XR", "US") else 3
    site = as_unlabelled(site)
    unlabelled = site.model_copy(update={"data": site.data.model_copy(update={"label": ""})})
    pictures = (unlabelled, make_study("classification", dimension, modality, ("one", "other")))
    masks = (site, make_study("segmentation", dimension, modality, ("background", "marked")))
    best, problem = None, None
    for its_site, study in [pictures, masks] if layout == "csv" else [masks, pictures]:
        try:
            listing = unite_patients(list_images(its_site, study, index, inferred=True))
        except DataError as error:
            problem = problem or Finding.from_error(error, level="warning")
            continue
        found = KnownImages(_count(listing), listing, modality)
        if best is None or _rank(found) > _rank(best):
            best = found
    return best, None if best else problem


def _rank(found: KnownImages) -> tuple[int, int]:
    return found.counts.images, found.counts.masks


def _count(listing: Listing) -> ListedImages:
    there = [entry for entry in listing.entries if isinstance(entry.image, Source)]
    problems = Counter(entry.image.code for entry in listing.entries if isinstance(entry.image, DataError))
    return ListedImages(
        images=len(there),
        missing=len(listing.entries) - len(there),
        masks=sum(isinstance(entry.label, Source) for entry in there),
        patients=len({entry.patient or ("", entry.key) for entry in there}),
        patient_ids=listing.patient_ids,
        problems=dict(problems.most_common()),
    )
