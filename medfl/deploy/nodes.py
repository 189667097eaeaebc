"""Nodes of Flower's server, kept in step with the list of enrolled sites.

Flower reports neither the names nor the keys of its nodes, and never accepts a key again that was unregistered. So
``superlink/nodes.json`` records what was registered.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.site_registry import EnrolledSite, list_enrolled
from medfl.deploy.superlink import CONNECTION, run_flwr
from medfl.errors import DeployError
from medfl.system.files import write_private

_FILE = "nodes.json"
_SERVER_UNAVAILABLE = ("SERVER-DOWN", "SERVER-SLOW")  # then the next request would fail, too
_ACTIVE_STATES = ("valid", "expiring")

Nodes = dict[str, tuple[str, str]]  # name of the site: id of its node, and its key


def reconcile(folder: FederationFolder, notify: Callable[[str], None]) -> tuple[DeployError, ...]:
    """Register the sites that may take part, and unregister those that may not: revoked, expired, or with a new key.

    Parameters
    ----------
    folder : FederationFolder
        Folder of a running server.
    notify : callable
        Gets a line for a person about each change.

    Returns
    -------
    tuple of DeployError
        Changes that failed; a problem with one site does not hold up the others.
    """
    try:
        active = {site.name: site for site in list_enrolled(folder) if site.state() in _ACTIVE_STATES}
    except DeployError as error:  # nobody is let in while it is unknown who was revoked
        return (error,)
    known, errors = _read_nodes(folder), list[DeployError]()
    stale = [name for name, (_, key) in known.items() if name not in active or _strip_comment(active[name].public_key) != key]
    new = ((name, site) for name, site in active.items() if name not in known)  # evaluated once the stale ones are out
    for name, site in chain(((name, None) for name in stale), new):
        try:
            change = _unregister_site(folder, name, known) if site is None else _register_site(folder, site, known)
        except DeployError as error:
            errors.append(error)
            if error.code in _SERVER_UNAVAILABLE:
                break
            continue
        _write_nodes(folder, known)
        notify(change)
    return tuple(errors)


def _unregister_site(folder: FederationFolder, name: str, known: Nodes) -> str:
    run_flwr(folder, "supernode", "unregister", known[name][0], CONNECTION, "--format", "json")
    del known[name]
    return f"{name} is out: its requests are refused from now on."


def _register_site(folder: FederationFolder, site: EnrolledSite, known: Nodes) -> str:
    known[site.name] = (_register_node(folder, site, known), _strip_comment(site.public_key))
    return f"{site.name} may take part."


def forget_stale_nodes(folder: FederationFolder) -> None:
    """Drop the records of nodes that Flower no longer knows: its database was removed, or restored from an older copy."""
    registered, known = set(_list_registered(folder)), _read_nodes(folder)
    current = {name: entry for name, entry in known.items() if entry[0] in registered}
    if current != known:
        _write_nodes(folder, current)


def unregister_unknown_nodes(folder: FederationFolder) -> None:
    """Unregister the nodes that belong to no site: registered just before a crash, for a site that was revoked meanwhile.

    Call it when all sites that may take part have their nodes.
    """
    known = {node for node, _ in _read_nodes(folder).values()}
    for node in _list_registered(folder):
        if node not in known:
            run_flwr(folder, "supernode", "unregister", node, CONNECTION, "--format", "json")


def node_ids(folder: FederationFolder) -> dict[str, str]:
    """Return the identifier of each registered site's node, by the site's name."""
    return {name: node for name, (node, _) in _read_nodes(folder).items()}


def _list_registered(folder: FederationFolder) -> list[str]:
    listed = run_flwr(folder, "supernode", "list", CONNECTION, "--format", "json")["nodes"]
    return [str(node["node-id"]) for node in listed if node["status"] != "unregistered"]


def _register_node(folder: FederationFolder, site: EnrolledSite, known: Nodes) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        public = Path(scratch) / "node.pub"
        public.write_text(site.public_key)
        try:
            answer = run_flwr(folder, "supernode", "register", str(public), CONNECTION, "--name", site.name, "--format", "json")
        except DeployError as error:
            if "already in use" not in error.what:
                raise
            return _find_orphan_node(folder, site, known)
    return str(answer["node-id"])


def _find_orphan_node(folder: FederationFolder, site: EnrolledSite, known: Nodes) -> str:
    """Find the node of a key that was registered just before a crash, and never recorded."""
    recorded = {node for node, _ in known.values()}
    unknown = [node for node in _list_registered(folder) if node not in recorded]
    if len(unknown) != 1:
        fix = f"{site.name} needs a new key: 'medfl site init --new-key' there, and enrol the new request."
        raise DeployError(
            "KEY-USED", f"the key of {site.name} was unregistered before, and Flower never accepts one again.", fix
        )
    return unknown[0]


def _read_nodes(folder: FederationFolder) -> Nodes:
    try:
        entries = json.loads((folder.path / "superlink" / _FILE).read_bytes())
        return {name: (str(entry["node"]), str(entry["key"])) for name, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        what = f"the list of nodes, superlink/{_FILE}, cannot be read."
        raise DeployError("REGISTRY-DAMAGED", what, "Restore it from a copy.") from None


def _write_nodes(folder: FederationFolder, known: Nodes) -> None:
    entries = {name: {"node": node, "key": key} for name, (node, key) in sorted(known.items())}
    write_private(folder.path / "superlink" / _FILE, json.dumps(entries, indent=1).encode(), "the list of nodes")


def _strip_comment(public_key: str) -> str:
    """Return an OpenSSH key without its comment."""
    return " ".join(public_key.split()[:2])
