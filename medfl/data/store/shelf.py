"""One folder of the store, that of one site and one way to preprocess: cases are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from medfl.data.cases import Finding
from medfl.data.store.files import (
    TEMPORARY,
    private_folder,
    read_json,
    renamed,
    replace_json,
    sweep,
    sync_folder,
    temporary_folder,
    unwritable,
)
from medfl.data.store.stored import Array, Meta, map_array
from medfl.errors import DiskFullError

VERSION = 4  # part of every key: raise it when the layout, a reader or the preprocessing gives other results
ABOUT = "about.json"
_INDEX = "index.json"
_REFUSED = ".refused.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MIB = 2**20


class Shelf:
    """The prepared cases of one site, made in one way.

    Every case is a folder ``<name>-<key>``; its ``meta.json`` is written last, and the folder gets its name when all of it is
    on the disk. ``index.json`` repeats the content of all ``meta.json`` files, so that opening reads one file; it is a cache
    and may be lost or old. The date of the folder is that of its last use.

    Parameters
    ----------
    folder : Path
        The folder; made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        private_folder(folder)
        sweep(folder)
        with contextlib.suppress(OSError):
            os.utime(folder)  # what is not used for long can be purged
        self._index = self._read_index()
        self._changed = False

    def find(self, name: str, key: str) -> Meta | None:
        """Return the meta data of a case that lies here whole, else None.

        Parameters
        ----------
        name : str
            Pseudonym of the case.
        key : str
            Hash of everything that decides what its prepared form is.
        """
        place = self.place(name, key)
        entry = os.path.basename(place)
        meta = self._index.get(entry)
        if meta is None:
            meta = read_json(os.path.join(place, "meta.json"))
        if meta is None or meta.get("key") != key or not _sizes_fit(place, meta):
            return None
        self._remember(entry, meta)
        return meta

    def place(self, name: str, key: str) -> str:
        """Return the folder of a case, whether it is there or not."""
        return os.path.join(self.folder, f"{name}-{key[:16]}")

    def write(self, name: str, key: str, arrays: Mapping[str, Array], facts: Meta, remaining: int = 1) -> Meta:
        """Write a case; when another process was faster, its copy stays and this one is dropped.

        Parameters
        ----------
        name, key : str
            As in `find`.
        arrays : mapping of str to ndarray
            By file name without its ending.
        facts : dict
            What else the ``meta.json`` tells.
        remaining : int
            Cases still to write with this one, for the message when the disk is full.

        Raises
        ------
        DiskFullError
            ``DISK-FULL``; nothing of the case is left.
        DataError
            ``STORE-UNWRITABLE`` when the store can not be written for another reason.
        """
        size = sum(array.nbytes for array in arrays.values())
        temporary = self._temporary(name)
        try:
            if shutil.disk_usage(self.folder).free < size + _MIB:
                raise self._full(size, remaining)
            with temporary_folder(temporary):
                files = {f"{stem}.npy": _write_array(temporary / f"{stem}.npy", array) for stem, array in arrays.items()}
                meta = {**facts, "key": key, "files": files}
                replace_json(temporary / "meta.json", meta)
                sync_folder(temporary)
                self._commit(temporary, name, key)
        except OSError as error:
            if error.errno in _FULL:
                raise self._full(size, remaining) from None
            raise unwritable(error) from None
        self._remember(os.path.basename(self.place(name, key)), meta)
        return meta

    def remember(self, name: str, key: str, meta: Meta) -> None:
        """Take note of a case that another process has written here."""
        self._remember(os.path.basename(self.place(name, key)), meta)

    def names(self) -> set[str]:
        """Return the pseudonyms of all cases that lie here, prepared or refused, whatever their key."""
        entries = (entry.removesuffix(_REFUSED) for entry in os.listdir(self.folder))
        return {entry.rpartition("-")[0] for entry in entries if "-" in entry and not entry.startswith(".")}

    @property
    def described(self) -> bool:
        """Whether somebody told what the cases here are for."""
        return os.path.exists(self.folder / ABOUT)

    def describe(self, about: Mapping[str, object]) -> None:
        """Tell what the cases here are for: nothing depends on it, and what is told for the first time is kept."""
        before = read_json(self.folder / ABOUT) or {}
        if before != {**before, **about}:
            with contextlib.suppress(OSError):
                replace_json(self.folder / ABOUT, {**before, **about})

    def refusal(self, name: str, key: str, version: str) -> Finding | None:
        """Return why this very content was refused before, by this version of medfl."""
        entry = f"{name}-{key[:16]}{_REFUSED}"
        facts = self._index.get(entry) or read_json(os.path.join(self.folder, entry))
        if facts is None or facts.get("key") != key or facts.get("version") != version:
            return None
        self._remember(entry, facts)
        return Finding(facts["code"], name, facts["what"], facts["fix"])

    def refuse(self, name: str, key: str, version: str, finding: Finding) -> None:
        """Remember why a case was refused, so that the next start need not read it again."""
        entry = f"{name}-{key[:16]}{_REFUSED}"
        facts = {"key": key, "version": version, "code": finding.code, "what": finding.what, "fix": finding.fix}
        with contextlib.suppress(OSError):  # costs the next start some time, no more
            replace_json(self.folder / entry, facts)
            self._remember(entry, facts)

    def intact(self, name: str, key: str) -> bool:
        """Read a case in full and tell whether its arrays are still those that were written."""
        place = self.place(name, key)
        meta = read_json(os.path.join(place, "meta.json"))  # not the index, which may be older
        if meta is None or meta.get("key") != key or not _sizes_fit(place, meta):
            return False
        return all(_digest(place, file, meta) == facts["sha256"] for file, facts in meta["files"].items())

    def save(self) -> None:
        """Write the index if it has changed, without what is no longer here; failing costs time only."""
        if self._changed:
            with contextlib.suppress(OSError):
                here = set(os.listdir(self.folder))
                entries = {**self._read_index(), **self._index}
                replace_json(self.folder / _INDEX, {entry: facts for entry, facts in entries.items() if entry in here})
            self._changed = False

    def _commit(self, temporary: Path, name: str, key: str) -> None:
        place = self.place(name, key)
        if not renamed(temporary, place):
            there = read_json(os.path.join(place, "meta.json"))
            if there is not None and there.get("key") == key and _sizes_fit(place, there):
                return  # another process was first
            aside = self._temporary(name)
            with contextlib.suppress(FileNotFoundError):
                os.rename(place, aside)
            shutil.rmtree(aside, ignore_errors=True)
            renamed(temporary, place)  # or a process that saw the damage, too, was faster
        sync_folder(self.folder)

    def _temporary(self, name: str) -> Path:
        return self.folder / f"{TEMPORARY}{name}-{os.getpid()}-{secrets.token_hex(4)}"

    def _full(self, size: int, remaining: int) -> DiskFullError:
        free = shutil.disk_usage(self.folder).free
        need = -(-size * remaining // _MIB)
        what = f"the prepared data needs about {need} MB more for {remaining} case(s), {free // _MIB} MB are free in the store."
        if free > size + _MIB:
            what += " The system refused it all the same, perhaps for a quota."
        return DiskFullError("DISK-FULL", what, "Make room, or name another folder as resources.store in the site.toml.")

    def _remember(self, entry: str, facts: Meta) -> None:
        if self._index.get(entry) is not facts:
            self._index[entry] = facts
            self._changed = True

    def _read_index(self) -> dict[str, Meta]:
        return read_json(os.path.join(self.folder, _INDEX)) or {}


def default_root() -> Path:
    """Return the folder of all prepared data where none is chosen: ``MEDFL_STORE``, or the user's cache."""
    told = os.environ.get("MEDFL_STORE", "")
    return Path(told).expanduser().absolute() if told else Path.home() / ".cache" / "medfl" / "store"


def _write_array(path: Path, array: Array) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    content = array.reshape(-1).view(np.uint8).data
    with ThreadPoolExecutor(1) as aside, open(path, "wb") as file:
        digest = aside.submit(hashlib.sha256, content)  # while it is written
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(content)  # unlike numpy's own, its error tells when the disk is full
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    facts = {"size": size, "offset": size - array.nbytes, "shape": list(array.shape), "dtype": array.dtype.str}
    return {**facts, "sha256": digest.result().hexdigest()}


def _digest(place: str, file: str, meta: Meta) -> str:
    array = map_array(place, file, meta)
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()


def _sizes_fit(place: str, meta: Meta) -> bool:
    try:
        return all(os.stat(os.path.join(place, name)).st_size == facts["size"] for name, facts in meta["files"].items())
    except (OSError, KeyError, TypeError, AttributeError):
        return False
