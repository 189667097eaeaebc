"""Where a site keeps its attempts, and for good which models it helped to open a sum of: in memory, or on disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from medfl.secure_aggregation.site_state import damaged_state_error
from medfl.system.files import make_private_folder, translate_disk_errors, write_file
from medfl.system.locks import locked


class SiteStore(Protocol):
    """Store of one site. Attempts and models are named by their digests; what was saved lasts when a method returns."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep every other process of the site away until the end of the block."""

    def load(self, attempt: str) -> bytes | None:
        """Return the state of an attempt, None when there is none."""

    def save(self, attempt: str, state: bytes) -> None:
        """Keep the state of an attempt instead of the one before."""

    def load_vector(self, attempt: str) -> bytes | None:
        """Return the masked vector of an attempt."""

    def save_vector(self, attempt: str, parts: Sequence[memoryview]) -> None:
        """Keep the masked vector of an attempt."""

    def forget(self, attempt: str) -> None:
        """Remove an attempt with its secrets; that a sum was opened is not forgotten."""

    def load_release(self, model: str) -> bytes | None:
        """Return the record of the sum of a model that the site helped to open."""

    def save_release(self, model: str, record: bytes) -> None:
        """Keep that record for good; FileExistsError when there is one for this model."""


class MemoryStore:
    """A store that ends with its process, for tests and simulations."""

    def __init__(self) -> None:
        self._states: dict[str, bytes] = {}
        self._vectors: dict[str, bytes] = {}
        self._releases: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def locked(self) -> AbstractContextManager[None]:
        """Keep other threads away."""
        return _held(self._lock)

    def load(self, attempt: str) -> bytes | None:
        """As in `SiteStore`."""
        return self._states.get(attempt)

    def save(self, attempt: str, state: bytes) -> None:
        """As in `SiteStore`."""
        self._states[attempt] = state

    def load_vector(self, attempt: str) -> bytes | None:
        """As in `SiteStore`."""
        return self._vectors.get(attempt)

    def save_vector(self, attempt: str, parts: Sequence[memoryview]) -> None:
        """As in `SiteStore`."""
        self._vectors[attempt] = b"".join(parts)

    def forget(self, attempt: str) -> None:
        """As in `SiteStore`."""
        self._states.pop(attempt, None)
        self._vectors.pop(attempt, None)

    def load_release(self, model: str) -> bytes | None:
        """As in `SiteStore`."""
        return self._releases.get(model)

    def save_release(self, model: str, record: bytes) -> None:
        """As in `SiteStore`."""
        if model in self._releases:
            raise FileExistsError(model)
        self._releases[model] = record


class DiskStore:
    """A store in a folder, for its owner alone; files are whole or absent, also after a loss of power.

    Parameters
    ----------
    folder : Path
        The folder; it is made when it is missing.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``, here and in every method that writes.
    """

    def __init__(self, folder: Path) -> None:
        self._attempts, self._releases = folder / "attempts", folder / "opened"
        self._lock = folder / "lock"
        with _writing():
            for each in (self._attempts, self._releases):
                make_private_folder(each)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes away."""
        return _locked(self._lock)

    def load(self, attempt: str) -> bytes | None:
        """As in `SiteStore`."""
        return _read(self._attempts / f"{attempt}.json")

    def save(self, attempt: str, state: bytes) -> None:
        """As in `SiteStore`."""
        with _writing():
            write_file(self._attempts / f"{attempt}.json", state, private=True)

    def load_vector(self, attempt: str) -> bytes | None:
        """As in `SiteStore`."""
        return _read(self._attempts / f"{attempt}.vector")

    def save_vector(self, attempt: str, parts: Sequence[memoryview]) -> None:
        """As in `SiteStore`."""
        with _writing():
            write_file(self._attempts / f"{attempt}.vector", parts, private=True)

    def forget(self, attempt: str) -> None:
        """As in `SiteStore`."""
        with _writing():
            for ending in ("json", "vector"):
                (self._attempts / f"{attempt}.{ending}").unlink(missing_ok=True)

    def load_release(self, model: str) -> bytes | None:
        """As in `SiteStore`."""
        return _read(self._releases / f"{model}.json")

    def save_release(self, model: str, record: bytes) -> None:
        """As in `SiteStore`."""
        path = self._releases / f"{model}.json"
        if path.exists():
            raise FileExistsError(model)
        with _writing():
            write_file(path, record, private=True, replace=False)


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    with lock:
        yield


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with _writing():
            stack.enter_context(locked(path))
        yield


def _writing() -> AbstractContextManager[None]:
    return translate_disk_errors("the state of secure aggregation", "repeat the round")


def _read(path: Path) -> bytes | None:
    """Return the content of a file; what cannot be read is not taken for absent."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        raise damaged_state_error() from None
