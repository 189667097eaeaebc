"""One folder of the store, that of one site and one way to preprocess: cases are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medfl.data.findings import Finding
from medfl.data.store.checksums import checksum_array, checksum_facts
from medfl.data.store.mapped_arrays import Array, Meta, open_array
from medfl.data.store.private_folder import make_private_folder, unwritable_error
from medfl.errors import DataError, DiskFullError
from medfl.system.files import (
    TEMPORARY_PREFIX,
    is_disk_full,
    read_json,
    remove_stale,
    rename_if_free,
    sync_folder,
    temporary_folder,
    write_json,
)
from medfl.system.text import format_bytes, plural

FORMAT_VERSION = 6  # part of every key: raise it when the layout, a reader or the preprocessing gives other results
ABOUT_FILE = "about.json"
_INDEX_FILE = "index.json"
_REJECTED_SUFFIX = ".refused.json"
_MIB = 2**20


class CacheFolder:
    """Folder of the prepared cases of one site, made in one way.

    Every case is a folder ``<name>-<key>``; its ``meta.json`` is written last, and the folder gets its name when all of it is
    on the disk. ``index.json`` repeats the content of all ``meta.json`` files, so that opening reads one file; it is a cache
    and may be lost or old. The date of the folder is that of its last use.

    Parameters
    ----------
    path : Path
        The folder; made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        make_private_folder(folder)
        remove_stale(folder)
        with contextlib.suppress(OSError):
            os.utime(folder)  # what is not used for long can be purged
        self._index = self._read_index()
        self._changed = False

    def find(self, name: str, key: str) -> Meta | None:
        """Return the metadata of a case that is complete here, or None.

        Parameters
        ----------
        name : str
            Pseudonym of the case.
        key : str
            Hash of everything that decides what its prepared form is.
        """
        folder = self.case_path(name, key)
        entry = os.path.basename(folder)
        meta = self._index.get(entry)
        if meta is None or not _is_own(meta, key):
            meta = read_json(os.path.join(folder, "meta.json"))
        if meta is None or not _is_own(meta, key) or not _has_expected_sizes(folder, meta):
            return None
        self._register(entry, meta)
        return meta

    def case_path(self, name: str, key: str) -> str:
        """Return the folder of a case, whether it exists or not."""
        return os.path.join(self.path, f"{name}-{key[:16]}")

    def write(self, name: str, key: str, arrays: Mapping[str, Array], facts: Meta, remaining: int = 1) -> Meta:
        """Write a case; when another process was faster, its copy stays and this one is dropped.

        Parameters
        ----------
        name, key : str
            As in `find`.
        arrays : mapping of str to ndarray
            Arrays by file name without its ending.
        facts : dict
            Further content of the ``meta.json``.
        remaining : int
            Cases still to write with this one, for the message when the disk is full.

        Raises
        ------
        DiskFullError
            ``DISK-FULL``; nothing of the case is left.
        DataError
            ``STORE-UNWRITABLE`` when the store cannot be written for another reason.
        """
        size = sum(array.nbytes for array in arrays.values())
        temporary = self._temporary_path(name)
        try:
            if shutil.disk_usage(self.path).free < size + _MIB:
                raise self._disk_full_error(size, remaining)
            with temporary_folder(temporary):
                files = {f"{stem}.npy": _write_array(temporary / f"{stem}.npy", array) for stem, array in arrays.items()}
                meta = {**facts, "key": key, "files": files}
                meta["checksum"] = checksum_facts(meta)
                write_json(temporary / "meta.json", meta)  # the last file: this makes all names in the folder durable
                self._commit(temporary, name, key)
        except OSError as error:
            if is_disk_full(error):
                raise self._disk_full_error(size, remaining) from None
            raise unwritable_error(error) from None
        self._register(os.path.basename(self.case_path(name, key)), meta)
        return meta

    def register(self, name: str, key: str, meta: Meta) -> None:
        """Take note of a case that another process has written here."""
        self._register(os.path.basename(self.case_path(name, key)), meta)

    def case_names(self) -> set[str]:
        """Return the pseudonyms of all cases in this folder, prepared or refused, whatever their key."""
        entries = (entry.removesuffix(_REJECTED_SUFFIX) for entry in os.listdir(self.path))
        return {entry.rpartition("-")[0] for entry in entries if "-" in entry and not entry.startswith(".")}

    @property
    def has_description(self) -> bool:
        """Whether it is known what the cases here are for."""
        return os.path.exists(self.path / ABOUT_FILE)

    def describe(self, about: Mapping[str, object]) -> None:
        """Add to the description of what the cases here are for: nothing depends on it, and other entries are kept."""
        before = read_json(self.path / ABOUT_FILE) or {}
        if before != {**before, **about}:
            with contextlib.suppress(OSError):
                write_json(self.path / ABOUT_FILE, {**before, **about})

    def find_rejection(self, name: str, key: str, version: str) -> Finding | None:
        """Return why this very content was refused before, by this version of medfl."""
        entry = f"{name}-{key[:16]}{_REJECTED_SUFFIX}"
        facts = self._index.get(entry) or read_json(os.path.join(self.path, entry))
        if facts is None or facts.get("key") != key or facts.get("version") != version:
            return None
        self._register(entry, facts)
        return Finding(facts["code"], name, facts["what"], facts["fix"])

    def save_rejection(self, name: str, key: str, version: str, finding: Finding) -> None:
        """Remember why a case was refused, so that the next start need not read it again."""
        entry = f"{name}-{key[:16]}{_REJECTED_SUFFIX}"
        facts = {"key": key, "version": version, "code": finding.code, "what": finding.what, "fix": finding.fix}
        with contextlib.suppress(OSError):  # costs the next start some time, no more
            write_json(self.path / entry, facts)
            self._register(entry, facts)

    def is_intact(self, name: str, key: str) -> bool:
        """Read a case in full and return whether its arrays are still those that were written."""
        folder = self.case_path(name, key)
        meta = read_json(os.path.join(folder, "meta.json"))  # not the index, which may be older
        if meta is None or not _is_own(meta, key) or not _has_expected_sizes(folder, meta):
            return False
        try:
            return all(
                checksum_array(open_array(folder, file, meta)) == meta["files"][file]["checksum"] for file in meta["files"]
            )
        except DataError:
            return False

    def discard(self, name: str, key: str) -> None:
        """Take a damaged case away, so that it is made anew.

        Raises
        ------
        DataError
            ``STORE-UNWRITABLE``.
        """
        folder, damaged = self.case_path(name, key), self._temporary_path(name)
        self._index.pop(os.path.basename(folder), None)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, damaged)
        except OSError as error:
            raise unwritable_error(error) from None
        shutil.rmtree(damaged, ignore_errors=True)

    def save(self) -> None:
        """Write the index if it has changed, without what is no longer here; failing costs time only."""
        if self._changed:
            with contextlib.suppress(OSError):
                present = set(os.listdir(self.path))
                entries = {**self._read_index(), **self._index}
                write_json(self.path / _INDEX_FILE, {entry: facts for entry, facts in entries.items() if entry in present})
            self._changed = False

    def _commit(self, temporary: Path, name: str, key: str) -> None:
        folder = self.case_path(name, key)
        if not rename_if_free(temporary, folder):
            there = read_json(os.path.join(folder, "meta.json"))
            if there is not None and _is_own(there, key) and _has_expected_sizes(folder, there):
                return  # another process was first
            damaged = self._temporary_path(name)
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, damaged)
            shutil.rmtree(damaged, ignore_errors=True)
            rename_if_free(temporary, folder)  # or a process that saw the damage, too, was faster
        sync_folder(self.path)

    def _temporary_path(self, name: str) -> Path:
        return self.path / f"{TEMPORARY_PREFIX}{name}-{os.getpid()}-{secrets.token_hex(4)}"

    def _disk_full_error(self, size: int, remaining: int) -> DiskFullError:
        free = shutil.disk_usage(self.path).free
        need, cases = format_bytes(size * remaining), plural(remaining, "case")
        what = f"the prepared data needs about {need} more for {cases}, {format_bytes(free)} are free in the store."
        if free > size + _MIB:
            what += " The system refused it all the same, perhaps for a quota."
        return DiskFullError("DISK-FULL", what, "Make room, or name another folder as resources.store in the site.toml.")

    def _register(self, entry: str, facts: Meta) -> None:
        if self._index.get(entry) is not facts:
            self._index[entry] = facts
            self._changed = True

    def _read_index(self) -> dict[str, Meta]:
        return read_json(os.path.join(self.path, _INDEX_FILE)) or {}


def default_store_root() -> Path:
    """Return the folder of all prepared data where none is chosen: ``MEDFL_STORE``, or the user's cache."""
    chosen = os.environ.get("MEDFL_STORE", "")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".cache" / "medfl" / "store"


def _write_array(path: Path, array: Array) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8).data)  # unlike numpy's own, its error says when the disk is full
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    facts = {"size": size, "offset": size - array.nbytes, "shape": list(array.shape), "dtype": array.dtype.str}
    return {**facts, "checksum": checksum_array(array)}


def _is_own(meta: Meta, key: str) -> bool:
    """Return whether the metadata are those of a key, and still what was written."""
    if meta.get("key") != key:
        return False
    return meta.get("checksum") == checksum_facts({name: value for name, value in meta.items() if name != "checksum"})


def _has_expected_sizes(folder: str, meta: Meta) -> bool:
    try:
        return all(os.stat(os.path.join(folder, name)).st_size == facts["size"] for name, facts in meta["files"].items())
    except (OSError, KeyError, TypeError, AttributeError):
        return False
