"""Which studies a hospital has approved: one file for each in a folder of its own, which holds the study itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medfl import __version__
from medfl.errors import DeployError, PolicyError
from medfl.runs.run_folder import study_from_json
from medfl.schema import Section
from medfl.site import Site
from medfl.study import Study
from medfl.system.files import sync_folder, translate_disk_errors, write_private


@dataclass(frozen=True)
class Approval:
    """A study that may run at a site.

    Parameters
    ----------
    study : Study
        What was approved.
    approved : str
        ISO time, UTC.
    """

    study: Study
    approved: str

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.name

    @property
    def hash(self) -> str:
        """Hash of what was approved."""
        return self.study.approved_hash()


def approve(site: Site, study: Study) -> Path:
    """Let a study run at a site from now on; what the server alone reads of it is left out.

    Returns
    -------
    Path
        The file, named by the hash.
    """
    bare = study.model_copy(update={"server": type(study.server)(), "simulation": _keep_only_arms(study)})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    told = {
        "hash": bare.approved_hash(),
        "approved": now,
        "medfl": __version__,
        "study": bare.model_dump(mode="json", by_alias=True),
    }
    path = _approvals_folder(site) / f"{bare.approved_hash()}.json"
    return write_private(path, json.dumps(told, indent=1).encode(), "the approval")


def withdraw(site: Site, wanted: str) -> Approval:
    """Take an approval back; the next message of that study is refused.

    Parameters
    ----------
    site : Site
        Whose.
    wanted : str
        Name of the study, or the beginning of its hash.

    Raises
    ------
    DeployError
        ``APPROVAL-UNKNOWN`` when nothing, or more than one approval, is meant.
    """
    found = [a for a in list_approvals(site)[0] if wanted and (a.name == wanted or a.hash.startswith(wanted))]
    if len(found) != 1:
        what = f"{len(found)} approvals are meant by {wanted!r}."
        raise DeployError("APPROVAL-UNKNOWN", what, "Give the beginning of a hash: medfl site approvals.")
    with translate_disk_errors("the folder of approvals", "give the same command again"):
        (_approvals_folder(site) / f"{found[0].hash}.json").unlink()
        sync_folder(_approvals_folder(site))
    return found[0]


def list_approvals(site: Site) -> tuple[tuple[Approval, ...], tuple[PolicyError, ...]]:
    """Return the approvals of a site by name and time, and what is wrong with each file that is none."""
    good, wrong = [], []
    for path in sorted(_approvals_folder(site).glob("*.json")):
        try:
            good.append(_read_approval(path))
        except PolicyError as error:
            wrong.append(error)
    return tuple(sorted(good, key=lambda a: (a.name, a.approved))), tuple(wrong)


def approved_studies(site: Site) -> tuple[Approval, ...]:
    """Return what is approved at a site, by name and time.

    Raises
    ------
    PolicyError
        ``APPROVAL-DAMAGED`` when a file is not what `approve` wrote, ``APPROVAL-OLD`` when another medfl wrote it, which reads
        that study in another way.
    """
    good, wrong = list_approvals(site)
    if wrong:
        raise wrong[0]
    return good


def require_approved(site: Site, study: Study) -> None:
    """Check that a study is one that a site has approved, to the last value.

    Raises
    ------
    PolicyError
        ``STUDY-NOT-APPROVED``; it names what differs from an approved study of the same name, for the site's own log.
    """
    path = _approvals_folder(site) / f"{study.approved_hash()}.json"
    if path.is_file() and _read_approval(path).hash == study.approved_hash():
        return
    others = [a.study for a in list_approvals(site)[0] if a.name == study.name]
    differs = [", ".join(sorted(_differing_keys(other, study))) for other in others]
    what = f"the study {study.name!r} is not approved here."
    if differs:
        what = f"the study {study.name!r} is not the one that was approved: it differs in {' or in '.join(differs)}."
    raise PolicyError(
        "STUDY-NOT-APPROVED", what, "Ask for its bundle, read what it will do, and approve it: medfl site approve."
    )


def _read_approval(path: Path) -> Approval:
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
        version, approved = str(told["medfl"]), str(told["approved"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise _damaged_error(path) from None
    try:
        approval = Approval(study_from_json(told["study"]), approved)
    except (KeyError, TypeError, AttributeError, ValidationError, RecursionError):
        raise _unfit_error(path, version) from None
    if not approval.hash == told.get("hash") == path.stem:
        raise _unfit_error(path, version)
    return approval


def _differing_keys(one: Section, other: Section, prefix: str = "") -> Iterator[str]:
    for name in type(one).model_fields:
        ours, theirs = getattr(one, name), getattr(other, name, None)
        key = prefix + name.replace("_", "-")
        if name == "server" or ours == theirs:
            continue
        if isinstance(ours, Section) and isinstance(theirs, Section) and type(ours) is type(theirs):
            yield from _differing_keys(ours, theirs, f"{key}.")
        else:
            yield key


def _keep_only_arms(study: Study) -> Section:
    return type(study.simulation)(arms=study.simulation.arms)


def _approvals_folder(site: Site) -> Path:
    return site.folder / (site.federation.approved if site.federation else "approved")


def _unfit_error(path: Path, version: str) -> PolicyError:
    if version == __version__:
        return _damaged_error(path)
    what = f"the approval {path.name[:20]} was given under another version of medfl, which read the study in another way."
    return PolicyError("APPROVAL-OLD", what, f"Delete that file in {path.parent.name}/, and approve the study anew.")


def _damaged_error(path: Path) -> PolicyError:
    what = f"the file {path.name[:20]} in the folder of approvals is not what was approved."
    fix = f"Find out who could write to {path.parent.name}/, delete that file, and approve the study anew."
    return PolicyError("APPROVAL-DAMAGED", what, fix)
