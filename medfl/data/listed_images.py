"""How many images and patients the layout of a data folder finds, before there is any study."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

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
    """

    images: int
    missing: int
    masks: int
    patients: int
    patient_ids: bool


def list_known_images(site: Site, layout: str, index: FileIndex) -> tuple[ListedImages | None, Finding | None]:
    """Count images and patients; where that is impossible, say why.

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
    modality = next((name for name, _ in seen.most_common() if name), "MR")
    dimension = 2 if modality in ("XR", "US") else 3
    site = as_unlabelled(site)
    unlabelled = site.model_copy(update={"data": site.data.model_copy(update={"label": ""})})
    pictures = (unlabelled, make_study("classification", dimension, modality, ("one", "other")))
    masks = (site, make_study("segmentation", dimension, modality, ("background", "marked")))
    best, problem = None, None
    for its_site, study in [pictures] if layout == "csv" else [masks, pictures]:
        try:
            found = _count(unite_patients(list_images(its_site, study, index, inferred=True)))
        except DataError as error:
            problem = problem or Finding.from_error(error, level="warning")
            continue
        if best is None or found.images > best.images:
            best = found
    return best, None if best else problem


def _count(listing: Listing) -> ListedImages:
    there = [entry for entry in listing.entries if isinstance(entry.image, Source)]
    return ListedImages(
        images=len(there),
        missing=len(listing.entries) - len(there),
        masks=sum(isinstance(entry.label, Source) for entry in there),
        patients=len({entry.patient or ("", entry.key) for entry in there}),
        patient_ids=listing.patient_ids,
    )
