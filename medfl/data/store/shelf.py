"""One folder of the store, that of one site and one way to preprocess: cases are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medfl.data.cases import Finding
from medfl.data.store.digests import replace_json
from medfl.data.store.stored import Array, Meta, map_array
from medfl.errors import DataError, DiskFullError

VERSION = 2  # part of every key: raise it when the layout, a reader or the preprocessing gives other results
_TEMPORARY = ".tmp-"
_STALE_SECONDS = 86400.0
_INDEX = "index.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # something else has the name
_MIB = 2**20


class Shelf:
    """The prepared cases of one site, made in one way.

    Every case is a folder ``<name>-<key>``; its ``meta.json`` is written last, and the folder gets its name when all of it is
    on the disk. ``index.json`` repeats the content of all ``meta.json`` files, so that opening reads one file; it is a cache
    and may be lost or old.

    Parameters
    ----------
    folder : Path
        The folder; made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        private_folder(folder)
        self._sweep()
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
            meta = _read(os.path.join(place, "meta.json"))
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
        temporary = self.folder / f"{_TEMPORARY}{name}-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            if shutil.disk_usage(self.folder).free < size + _MIB:
                raise self._full(size, remaining)
            temporary.mkdir(mode=0o700)
            files = {f"{stem}.npy": _write_array(temporary / f"{stem}.npy", array) for stem, array in arrays.items()}
            meta = {**facts, "key": key, "files": files}
            replace_json(temporary / "meta.json", meta)
            _sync_folder(temporary)
            self._commit(temporary, name, key)
        except OSError as error:
            if error.errno in _FULL:
                raise self._full(size, remaining) from None
            raise _unwritable(error) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._remember(os.path.basename(self.place(name, key)), meta)
        return meta

    def refusal(self, name: str, key: str, version: str) -> Finding | None:
        """Return why this very content was refused before, by this version of medfl."""
        entry = f"{name}-{key[:16]}.refused.json"
        facts = self._index.get(entry) or _read(os.path.join(self.folder, entry))
        if facts is None or facts.get("key") != key or facts.get("version") != version:
            return None
        self._remember(entry, facts)
        return Finding(facts["code"], name, facts["what"], facts["fix"])

    def refuse(self, name: str, key: str, version: str, finding: Finding) -> None:
        """Remember why a case was refused, so that the next start need not read it again."""
        entry = f"{name}-{key[:16]}.refused.json"
        facts = {"key": key, "version": version, "code": finding.code, "what": finding.what, "fix": finding.fix}
        with contextlib.suppress(OSError):  # costs the next start some time, no more
            replace_json(self.folder / entry, facts)
            self._remember(entry, facts)

    def intact(self, name: str, key: str) -> bool:
        """Read a case in full and tell whether its arrays are still those that were written."""
        place = self.place(name, key)
        meta = _read(os.path.join(place, "meta.json"))  # not the index, which may be older
        if meta is None or meta.get("key") != key or not _sizes_fit(place, meta):
            return False
        return all(_digest(place, file, meta) == facts["sha256"] for file, facts in meta["files"].items())

    def save(self) -> None:
        """Write the index if it has changed; a store that can not be written costs time only."""
        if self._changed:
            with contextlib.suppress(OSError):
                replace_json(self.folder / _INDEX, {**self._read_index(), **self._index})
            self._changed = False

    def _commit(self, temporary: Path, name: str, key: str) -> None:
        place = self.place(name, key)
        if not _renamed(temporary, place):
            there = _read(os.path.join(place, "meta.json"))
            if there is not None and there.get("key") == key and _sizes_fit(place, there):
                return  # another process was first
            aside = self.folder / f"{_TEMPORARY}{name}-{os.getpid()}-{secrets.token_hex(4)}"
            with contextlib.suppress(FileNotFoundError):
                os.rename(place, aside)
            shutil.rmtree(aside, ignore_errors=True)
            _renamed(temporary, place)  # or a process that saw the damage, too, was faster
        _sync_folder(self.folder)

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
        return _read(os.path.join(self.folder, _INDEX)) or {}

    def _sweep(self) -> None:
        """Remove what a crash left behind; younger folders may belong to a process at work."""
        for left in self.folder.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(left)


def default_root() -> Path:
    """Return the folder of all prepared data where none is chosen: ``MEDFL_STORE``, or the user's cache."""
    told = os.environ.get("MEDFL_STORE", "")
    return Path(told).expanduser().absolute() if told else Path.home() / ".cache" / "medfl" / "store"


def private_folder(folder: Path) -> None:
    """Make a folder of mode 0700 unless it is there, and those above it that are missing.

    Raises
    ------
    DataError
        ``STORE-UNWRITABLE``.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(error) from None


def _renamed(source: Path, target: str) -> bool:
    """Give a folder its name, unless something else has it."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _unwritable(error: OSError) -> DataError:
    what = f"the store of prepared data can not be written ({type(error).__name__})."
    return DataError("STORE-UNWRITABLE", what, "Check its folder, or name another as resources.store in the site.toml.")


def digest_of(values: object) -> str:
    """Return the SHA-256 of plain values, in hexadecimal; the same for the same values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _write_array(path: Path, array: Array) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8).data)  # unlike numpy's own, its error tells when the disk is full
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    digest = hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
    offset = size - array.nbytes
    return {"size": size, "offset": offset, "shape": list(array.shape), "dtype": array.dtype.str, "sha256": digest}


def _digest(place: str, file: str, meta: Meta) -> str:
    array = map_array(place, file, meta)
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sizes_fit(place: str, meta: Meta) -> bool:
    try:
        return all(os.stat(os.path.join(place, name)).st_size == facts["size"] for name, facts in meta["files"].items())
    except (OSError, KeyError, TypeError, AttributeError):
        return False


def _read(path: str) -> Meta | None:
    try:
        with open(path, "rb") as file:
            values = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
