"""Which enrolled sites are connected to a running server, and when each was last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.nodes import node_ids
from medfl.deploy.superlink import CONNECTION, run_flwr


@dataclass(frozen=True)
class SitePresence:
    """Whether a site is connected.

    Parameters
    ----------
    name : str
        The site.
    is_online : bool
        Whether it counts as connected: its last heartbeat is less than about a minute old.
    last_seen : datetime, optional
        Now when it is online, else when it left or its heartbeats ended; None when it never came. In UTC.
    """

    name: str
    is_online: bool
    last_seen: datetime | None

    def __str__(self) -> str:
        if self.is_online:
            return "online"
        return "never" if self.last_seen is None else f"offline since {self.last_seen:%Y-%m-%d %H:%M} UTC"


def list_presence(folder: FederationFolder) -> dict[str, SitePresence]:
    """Return the presence of the sites that may take part, by name.

    Raises
    ------
    DeployError
        ``SERVER-DOWN`` when the server is not running, ``SERVER-SLOW``, ``REGISTRY-DAMAGED``.
    """
    listed = run_flwr(folder, "supernode", "list", CONNECTION, "--format", "json")["nodes"]
    nodes = {str(node["node-id"]): node for node in listed}
    found = {}
    for name, node_id in node_ids(folder).items():
        node = nodes.get(node_id, {})
        is_online = node.get("status") == "online"
        seen = datetime.now(UTC) if is_online else _latest(node.get("offline-at"), node.get("online-at"))
        found[name] = SitePresence(name, is_online, seen)
    return found


def _latest(*times: object) -> datetime | None:
    """Return the latest of Flower's times; None when none is known."""
    known = []
    for text in times:
        try:
            known.append(datetime.fromisoformat(str(text)).astimezone(UTC))
        except ValueError:  # "N/A"
            continue
    return max(known, default=None)
