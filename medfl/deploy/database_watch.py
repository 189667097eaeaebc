"""Watch over the database of Flower's server, which would keep what hospitals sent for as long as the server stands."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.nodes import node_ids
from medfl.flower.state_database import StateDatabase

_UNASKED_SECONDS = 3600.0  # no receiver takes as long from getting a message to confirming it

_FIX = "If the study's models are that large, raise [superlink] max-site-megabytes in federation.toml."


class DatabaseWatch:
    """Removes what no run needs from the database, and what one hospital makes it hold beyond the ceiling.

    Parameters
    ----------
    folder : FederationFolder
        Folder of a running server.
    notify : callable
        Gets a line for a person when a hospital's replies are dropped, once for each hospital.
    """

    def __init__(self, folder: FederationFolder, notify: Callable[[str], None]) -> None:
        self._folder, self._notify = folder, notify
        self._path = folder.path / "superlink" / "state.db"
        self._unasked: dict[str, float] = {}  # when each object was first seen without a message
        self._told: set[int] = set()

    def check(self) -> None:
        """Do what is due now. A database that is busy is left alone until the next time."""
        if not self._path.exists():
            return
        try:
            with StateDatabase(self._path) as database:
                self._enforce_ceiling(database)
                self._prune(database)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise

    def _prune(self, database: StateDatabase) -> None:
        database.prune_ended()
        now = time.monotonic()
        self._unasked = {root: self._unasked.get(root, now) for root in database.find_unasked()}
        database.prune_unasked(root for root, since in self._unasked.items() if now - since >= _UNASKED_SECONDS)
        database.compact()

    def _enforce_ceiling(self, database: StateDatabase) -> None:
        megabytes = self._folder.settings.superlink.max_site_megabytes
        if database.drop_endless(megabytes << 20):
            self._notify(f"A reply of more than {megabytes} MiB was dropped; the record of the round names the site. {_FIX}")
        for node, size in database.held_bytes().items():
            if size <= megabytes << 20:
                continue
            database.drop_replies(node)
            if node not in self._told:
                self._told.add(node)
                name = next((name for name, known in node_ids(self._folder).items() if known == str(node)), "A site")
                self._notify(
                    f"{name} sent {size >> 20} MiB at once, and {megabytes} are allowed: its replies are dropped. {_FIX}"
                )
