"""Results on single patients: they stay at the hospitals, and a simulation keeps them in the sites' folders of the run."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from medfl.errors import RunError

Patient = tuple[str, str]  # site, pseudonym


def read_patient_results(
    run: Path, *, personal: bool = False, arm: str = "federated", owner: str = "", external: Collection[str] = ()
) -> dict[Patient, Any]:
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
    external : collection of str
        External hospitals, whose patients are left out; `read_external_results` has them.

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
    for folder in (each for each in sorted(run.glob("sites/*")) if each.name not in external):
        results |= _read_site(folder.name, _folder_of(folder, arm, owner, personal=personal))
    return results


def read_results_elsewhere(run: Path, external: Collection[str] = ()) -> Iterator[tuple[dict[Patient, Any], dict[str, str]]]:
    """Read what each test patient scored with the local models of the other hospitals, every one of them in its turn.

    Parameters
    ----------
    run : Path
        The run folder.
    external : collection of str
        External hospitals, whose patients are left out.

    Yields
    ------
    results : dict
        As `read_patient_results` returns them: of each hospital those with the model of one other.
    owners : dict of str to str
        The hospital whose model it is, by that of the patients.

    Raises
    ------
    RunError
        ``TEST-DAMAGED`` when a file cannot be read.
    """
    sites = [site for site in sorted(run.glob("sites/*")) if site.name not in external]
    others = {site: [own for own in sorted(site.glob("local/*")) if own.name != site.name] for site in sites}
    for turn in range(max(map(len, others.values()), default=0)):
        results: dict[Patient, Any] = {}
        chosen = {site.name: owned[turn % len(owned)] for site, owned in others.items() if owned}
        for site, folder in chosen.items():
            results |= _read_site(site, folder)
        yield results, {site: folder.name for site, folder in chosen.items()}


def read_external_results(run: Path, arm: str, external: Collection[str]) -> dict[str, dict[Patient, Any]]:
    """Read what each patient of the external hospitals of a simulation scored by each model of an arm.

    Parameters
    ----------
    run : Path
        The run folder.
    arm : str
        Arm whose models were tested.
    external : collection of str
        Names of the external hospitals.

    Returns
    -------
    dict of str to dict
        As `read_patient_results`, by the hospital whose model it is; ``""`` for a model that all share.

    Raises
    ------
    RunError
        ``TEST-DAMAGED`` when a file cannot be read.
    """
    models: dict[str, dict[Patient, Any]] = {}
    for site in sorted(external):
        folder = run / "sites" / site if arm == "federated" else run / "sites" / site / arm
        owners = [] if arm == "federated" else sorted(own.name for own in folder.glob("*/"))
        for owner in ("", *owners):
            if found := _read_site(site, folder / owner):
                models.setdefault(owner, {}).update(found)
    return models


def _read_site(site: str, folder: Path) -> dict[Patient, Any]:
    try:
        patients = json.loads((folder / "test.json").read_bytes())["patients"]
        return {(site, name): of_one for name, of_one in patients.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, AttributeError):
        what = f"the test scores of {site!r} cannot be read."
        raise RunError("TEST-DAMAGED", what, "Put back a copy of the run.") from None


def _folder_of(site: Path, arm: str, owner: str, *, personal: bool) -> Path:
    """Return the folder of the scores of an arm, given the folder of a site in a run."""
    if arm == "local":
        return site / arm / (owner or site.name)
    return site / "personal" if personal else site / arm if arm != "federated" else site
