"""Results on single patients: they stay at the hospitals, and a simulation keeps them in the sites' folders of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medfl.errors import RunError

Patient = tuple[str, str]  # site, pseudonym


def read_patient_results(run: Path, *, personal: bool = False, arm: str = "federated", owner: str = "") -> dict[Patient, Any]:
    """Read what each test patient of a simulation scored.

    Parameters
    ----------
    run : Path
        The run folder.
    personal : bool
        Results of each site's personal model instead of the shared one.
    arm : str
        Arm whose models were tested; of the arm "local", each site's own model.
    owner : str
        Of the arm "local", the site whose model was tested at every site, instead of each site's own.

    Returns
    -------
    dict
        The content of the ``test.json`` of every site, by patient; empty when the run has none, as in a real federation.

    Raises
    ------
    RunError
        ``TEST-DAMAGED`` when a file cannot be read.
    """
    results: dict[Patient, Any] = {}
    for folder in sorted(run.glob("sites/*")):
        file = _folder_of(folder, arm, owner, personal=personal) / "test.json"
        try:
            patients = json.loads(file.read_bytes())["patients"]
            results |= {(folder.name, name): of_one for name, of_one in patients.items()}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, AttributeError):
            what = f"the test scores of {folder.name!r} cannot be read."
            raise RunError("TEST-DAMAGED", what, "Put back a copy of the run.") from None
    return results


def _folder_of(site: Path, arm: str, owner: str, *, personal: bool) -> Path:
    """Return the folder of the scores of an arm, given the folder of a site in a run."""
    if arm == "local":
        return site / arm / (owner or site.name)
    return site / "personal" if personal else site / arm if arm != "federated" else site
