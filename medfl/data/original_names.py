"""Original names of cases: what the data calls them. They may identify a patient, so nobody uses them unasked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from medfl.data.index.case_records import CaseRecord, find_cases
from medfl.data.index.database import IndexDatabase
from medfl.data.layouts.sources import is_image_file
from medfl.data.patient_ids import split_issuer
from medfl.data.store.cache_key import site_root
from medfl.site import Site
from medfl.study import Study

_UNSAFE = re.compile(r"[^\w.+-]+")
_MAX_BYTES = 200  # of the 255 of a file name: a pseudonym, an ending, and what marks a temporary file are added


@dataclass(frozen=True)
class OriginalName:
    """What the data calls a case.

    Parameters
    ----------
    stem : str
        Name for a file of it, without an ending; no two cases have the same.
    patient : str
        Patient id.
    files : tuple of str
        Files of the image, relative to the data folder.
    """

    stem: str
    patient: str
    files: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON; of a series the first file stands for all."""
        return {"patient": self.patient, "image": self.files[0] if self.files else "", "files": len(self.files)}


def find_original_names(site: Site, study: Study, cases: Collection[str]) -> dict[str, OriginalName]:
    """Return the original names of cases, from the records that ``medfl data whois`` reads.

    A file is named as its image is, with its folders; a series of DICOM by the patient id and the pseudonym of the case.

    Parameters
    ----------
    site : Site
        Site of the index.
    study : Study
        Study for which the cases were listed.
    cases : collection of str
        Pseudonyms.
    """
    database = IndexDatabase(site_root(site), site.root)
    try:
        records = {case: record for case in cases for record in find_cases(database, case) if record.study == study.name}
    finally:
        database.close()
    stems = {case: _stem(record) for case, record in records.items()}
    count = Counter(stem.casefold() for stem in stems.values())
    return {
        case: OriginalName(
            stems[case] if count[stems[case].casefold()] == 1 else f"{stems[case]}_{case}",
            split_issuer(record.original)[0],
            record.image,
        )
        for case, record in records.items()
    }


def _stem(record: CaseRecord) -> str:
    first = PurePosixPath(record.image[0]) if record.image else PurePosixPath(record.case)
    if is_image_file(first.name):
        name = "_".join((*first.parent.parts, re.sub(r"(\.nii)?\.[^.]+$", "", first.name)))
    else:
        name = f"{split_issuer(record.original)[0]}_{record.case}"
    end = _UNSAFE.sub("-", name).encode()[-_MAX_BYTES:].decode(errors="ignore")  # the folders in front say least
    return end.strip(".-") or record.case
