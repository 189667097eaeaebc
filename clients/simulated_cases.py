"""Cases of a simulated hospital, which has no ledger: it notes whom each study trained on beside its prepared data."""

from __future__ import annotations

import json
import logging
from functools import lru_cache, partial
from pathlib import Path

from medfl.data.cases import Split
from medfl.data.store.cache_key import site_root
from medfl.data.store.prepared_data import PreparedData, select_cases
from medfl.errors import PolicyError
from medfl.privacy.earlier_training import keep_apart
from medfl.privacy.patient_sets import Splits, case_of, patients_of, write_member
from medfl.site import Site
from medfl.study import Study
from medfl.system.files import read_json, write_file

_FOLDER = "trained"
_log = logging.getLogger("medfl.site")
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def simulated_cases(study: Study, site: Site, prepared: PreparedData) -> PreparedData:
    """Return the cases of a simulated site, none of them tested on whom the start was trained; note whom this study trains on.

    Parameters
    ----------
    study : Study
        The study.
    site : Site
        The simulated site.
    prepared : PreparedData
        All its cases.

    Raises
    ------
    PolicyError
        ``START-PATIENTS`` as in `medfl.privacy.earlier_training.keep_apart`, and when the record is damaged.
    """
    present: Splits = {
        name: frozenset(write_member(case.patient, case.name) for case in prepared.get_split(name)) for name in _SPLITS
    }
    folder = site_root(site) / _FOLDER
    trained = frozenset().union(*(_read(folder, study_hash) for study_hash in study.start.studies))
    if study.start.studies and not trained:
        _warn_once(
            study, site.name, "it has no record of whom the start was trained on: if it took part, nobody is kept apart."
        )
    splits = keep_apart(study, present, trained, partial(_warn_once, study, site.name))
    _note(folder, study.approved_hash(), patients_of(splits["train"]))
    if splits is present:
        return prepared
    names: dict[str, Split] = {case_of(member): name for name in _SPLITS for member in splits[name]}
    return select_cases(prepared, names)


@lru_cache(maxsize=4096)
def _warn_once(study: Study, name: str, sentence: str) -> None:
    """Warn of a site once, and not at each of its visits."""
    _log.warning("[START-PATIENTS] %s: %s", name, sentence)


def _path(folder: Path, study_hash: str) -> Path:
    return folder / f"{study_hash[:16]}.json"


def _read(folder: Path, study_hash: str) -> frozenset[str]:
    path = _path(folder, study_hash)
    found = (read_json(path) or {}).get("patients") if path.exists() else []
    if not isinstance(found, list):
        what = f"the record of whom the study {study_hash[:16]} trained on is damaged."
        raise PolicyError("START-PATIENTS", what, "Delete the prepared data of this site, and run the earlier study again.")
    return frozenset(map(str, found))


def _note(folder: Path, study_hash: str, patients: set[str]) -> None:
    if not patients <= (before := _read(folder, study_hash)):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(_path(folder, study_hash), json.dumps({"patients": sorted(before | patients)}).encode(), durable=False)
