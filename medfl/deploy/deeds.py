"""What people decide about a federation, with the account that did it: in the site's log of exchanges, and in the federation's.

A line holds random characters, as the server gets the hashes of a site's lines, and could find the account by trying names.
"""

from __future__ import annotations

import secrets
from typing import Literal

from medfl.audit.chain import Chain
from medfl.deploy.federation_folder import FederationFolder
from medfl.site import Site
from medfl.system.accounts import current_account

FEDERATION_LOG = "audit.jsonl"  # in the folder of the federation; each run has its own log in its folder
FEDERATION_OWNER = "federation"

SiteDeed = Literal["approved", "withdrew"]
FederationDeed = Literal["enrolled", "renewed", "revoked", "renewed-server"]


def note_at_site(site: Site, deed: SiteDeed, study: str, study_hash: str) -> None:
    """Note in a site's log who approved a study, or withdrew that.

    Raises
    ------
    RunError, AuditError
        When the log cannot be written, or was changed from outside.
    """
    file = site.federation.audit if site.federation else "audit.jsonl"  # the default, for a site that has yet to join
    Chain(site.folder / file, site.name).append({"event": deed, "study": study, "study-hash": study_hash, **_by_whom()})


def note_at_server(folder: FederationFolder, deed: FederationDeed, site: str = "", key: str = "") -> None:
    """Note in the federation's log who enrolled, renewed or revoked a site, with the fingerprint of its key.

    Raises
    ------
    RunError, AuditError
        When the log cannot be written, or was changed from outside.
    """
    about = {"site": site, "key": key} if site else {}
    Chain(folder.path / FEDERATION_LOG, FEDERATION_OWNER).append({"event": deed, **about, **_by_whom()})


def _by_whom() -> dict[str, str]:
    return {"by": current_account(), "salt": secrets.token_hex(16)}
