"""Key of prepared data: all that decides what it looks like, apart from the source files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from medfl.data.store.cache_folder import FORMAT_VERSION, default_store_root
from medfl.data.store.versions import preprocessing_versions
from medfl.site import Site
from medfl.study import Study

START_FOLDER = "starts"  # folder of a site in which `medfl.clients.start.kept_start` keeps first models that came
STATE_FOLDER = "state"  # folder of a site in which `medfl.clients.training.client_state` keeps what must outlast a round

# where the files lie and what they are called there; every other key of the table may decide what is read from them
_LOCATION_KEYS = {"root", "layout", "index", "image", "label", "patient", "where"}


def store_root(site: Site) -> Path:
    """Return the folder of all prepared data: the site's own choice, or ``MEDFL_STORE``, or the user's cache."""
    chosen = site.resources.store
    return site.folder / Path(chosen).expanduser() if chosen else default_store_root()


def site_root(site: Site) -> Path:
    """Return the folder of one site's prepared data; its name does not reveal the site's."""
    return store_root(site) / hash_values(site.name)[:12]


def run_state_folder(root: Path, study_hash: str, run: str) -> Path:
    """Return the folder in which a site keeps its state of a run, inside its own folder of the store."""
    return root / STATE_FOLDER / study_hash[:16] / hashlib.sha256(run.encode()).hexdigest()[:16]


def compute_cache_key(site: Site, study: Study) -> str:
    """Return the hash of how a site's images are read and preprocessed for a study, in hexadecimal."""
    simulated = site.simulated
    scanner = (
        simulated.simulation.scanner_strengths | {"seed": study.seed_of_splits} if simulated and simulated.own_scanner else {}
    )
    return hash_values(
        {
            **({"scanner": scanner} if scanner else {}),
            "store": FORMAT_VERSION,
            "task": study.task.model_dump(mode="json"),
            "preprocessing": study.preprocessing.model_dump(mode="json"),
            "classes": site.classes,
            "reading": site.data.model_dump(mode="json", exclude=_LOCATION_KEYS),
            "libraries": preprocessing_versions(bias_correction=study.preprocessing.bias_correction != "none"),
        }
    )


def hash_values(values: object) -> str:
    """Return the SHA-256 of plain values, in hexadecimal; the same for the same values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
