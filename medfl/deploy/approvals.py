"""Studies that a hospital has approved: one file each, in a folder of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medfl import __version__
from medfl.deploy.deeds import note_at_site
from medfl.errors import DeployError, PolicyError
from medfl.schema import Section
from medfl.site import Site
from medfl.study import Study
from medfl.study.study_json import study_from_json
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
    """Let a study run at a site from now on; the site's log says first who approved it.

    Returns
    -------
    Path
        The file, named by the hash.
    """
    note_at_site(site, "approved", study.name, study.approved_hash())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {
        "hash": study.approved_hash(),
        "approved": now,
        "medfl": __version__,
        "study": study.model_dump(mode="json", by_alias=True),
    }
    path = _approvals_folder(site) / f"{study.approved_hash()}.json"
    return write_private(path, json.dumps(record, indent=1).encode(), "the approval")


def withdraw(site: Site, wanted: str) -> Approval:
    """Withdraw an approval; the next message of that study is refused.

    Parameters
    ----------
    site : Site
        Site that gave the approval.
    wanted : str
        Name of the study, or the beginning of its hash.

    Raises
    ------
    DeployError
        ``APPROVAL-UNKNOWN`` when no approval matches, or more than one does.
    """
    found = [a for a in list_approvals(site)[0] if wanted and (a.name == wanted or a.hash.startswith(wanted))]
    if len(found) != 1:
        what = f"{len(found)} approvals match {wanted!r}."
        raise DeployError("APPROVAL-UNKNOWN", what, "Give the beginning of a hash, as 'medfl site approvals' lists them.")
    with translate_disk_errors("the folder of approvals", "give the same command again"):
        (_approvals_folder(site) / f"{found[0].hash}.json").unlink()
        sync_folder(_approvals_folder(site))
    note_at_site(site, "withdrew", found[0].name, found[0].hash)  # last: a log that cannot be written holds nothing up
    return found[0]


def list_approvals(site: Site) -> tuple[tuple[Approval, ...], tuple[PolicyError, ...]]:
    """Return the approvals of a site, sorted by name and time, and the error of each file that is not a valid approval."""
    approvals, errors = [], []
    for path in sorted(_approvals_folder(site).glob("*.json")):
        try:
            approvals.append(_read_approval(path))
        except PolicyError as error:
            errors.append(error)
    return tuple(sorted(approvals, key=lambda a: (a.name, a.approved))), tuple(errors)


def approved_studies(site: Site) -> tuple[Approval, ...]:
    """Return the approvals of a site, sorted by name and time.

    Raises
    ------
    PolicyError
        ``APPROVAL-DAMAGED`` when a file is not what `approve` wrote, ``APPROVAL-OLD`` when another version of medfl wrote it
        and reads that study differently.
    """
    approvals, errors = list_approvals(site)
    if errors:
        raise errors[0]
    return approvals


def require_approved(site: Site, study: Study) -> None:
    """Check that a site has approved exactly this study, to the last value.

    Raises
    ------
    PolicyError
        ``STUDY-NOT-APPROVED``; names the keys that differ from an approved study of the same name, for the site's own log.
    """
    path = _approvals_folder(site) / f"{study.approved_hash()}.json"
    if path.is_file() and _read_approval(path).hash == study.approved_hash():
        return
    namesakes = [a.study for a in list_approvals(site)[0] if a.name == study.name]
    differences = [", ".join(sorted(_differing_keys(approved, study))) for approved in namesakes]
    what = f"the study {study.name!r} is not approved here."
    if differences:
        what = f"the study {study.name!r} is not the one that was approved: it differs in {' or in '.join(differences)}."
    raise PolicyError(
        "STUDY-NOT-APPROVED", what, "Ask for its bundle, read what it will do, and approve it: medfl site approve."
    )


def _read_approval(path: Path) -> Approval:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        version, approved = str(record["medfl"]), str(record["approved"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise _damaged_error(path) from None
    try:
        approval = Approval(study_from_json(record["study"]), approved)
    except (KeyError, TypeError, AttributeError, ValidationError, RecursionError):
        raise _mismatch_error(path, version) from None
    if not approval.hash == record.get("hash") == path.stem:
        raise _mismatch_error(path, version)
    return approval


def _differing_keys(approved: Section, offered: Section, prefix: str = "") -> Iterator[str]:
    for name in type(approved).model_fields:
        ours, theirs = getattr(approved, name), getattr(offered, name, None)
        key = prefix + name.replace("_", "-")
        if ours == theirs:
            continue
        if isinstance(ours, Section) and isinstance(theirs, Section) and type(ours) is type(theirs):
            yield from _differing_keys(ours, theirs, f"{key}.")
        else:
            yield key


def _approvals_folder(site: Site) -> Path:
    return site.folder / (site.federation.approved if site.federation else "approved")


def _mismatch_error(path: Path, version: str) -> PolicyError:
    if version == __version__:
        return _damaged_error(path)
    what = f"the approval {path.name[:20]} was given under another version of medfl, which read the study differently."
    return PolicyError("APPROVAL-OLD", what, f"Delete that file in {path.parent.name}/, and approve the study again.")


def _damaged_error(path: Path) -> PolicyError:
    what = f"the file {path.name[:20]} in the folder of approvals was changed after the study was approved."
    fix = f"Find out who could write to {path.parent.name}/, delete that file, and approve the study again."
    return PolicyError("APPROVAL-DAMAGED", what, fix)
