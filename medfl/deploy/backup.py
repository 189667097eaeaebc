"""Backup of a federation's server while it runs: a copy of its folder in which the database is of one moment."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from medfl.deploy.federation_folder import FederationFolder
from medfl.errors import DeployError
from medfl.system.files import translate_disk_errors

_DATABASE = ("superlink", "state.db")
_LEFT_OUT = ("logs", "proxy", "server.pid")  # what each start makes anew; the list of revoked certificates is kept
_DATABASE_PARTS = tuple(f"{_DATABASE[1]}{suffix}" for suffix in ("", "-wal", "-shm", "-journal"))


def backup(folder: FederationFolder, target: Path) -> Path:
    """Copy the folder of a server, which may be running.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    target : Path
        Folder to make; it must not exist. It holds the keys of the federation, and only its owner may read it.

    Returns
    -------
    Path
        The copy: a folder that `medfl server up` takes.

    Raises
    ------
    DeployError
        ``BACKUP-EXISTS`` when there is something at the target, or it lies in the folder itself.
    """
    fresh = target.with_name(f".{target.name}.part")
    if target.exists() or target.resolve().is_relative_to(folder.path):
        raise DeployError("BACKUP-EXISTS", f"{target} exists, or lies in the federation's own folder.", "Name a new folder.")
    with translate_disk_errors("the backup", "remove what was begun, and give the same command again"):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        try:
            for source in _iter_files(folder.path):
                copy = fresh / source.relative_to(folder.path)
                copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _copy_file(source, copy)
            _copy_database(folder.path.joinpath(*_DATABASE), fresh.joinpath(*_DATABASE))
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return target


def _iter_files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        is_kept = inside[0] not in _LEFT_OUT or inside == ("proxy", "crl.pem")
        if is_kept and path.is_file() and not (inside[0] == _DATABASE[0] and path.name in _DATABASE_PARTS):
            yield path


def _copy_file(source: Path, copy: Path) -> None:
    try:
        with source.open("rb") as original, open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            shutil.copyfileobj(original, target)
        shutil.copystat(source, copy)
        copy.chmod(0o600)
    except FileNotFoundError:  # a checkpoint that a newer one has replaced meanwhile
        copy.unlink(missing_ok=True)


def _copy_database(source: Path, copy: Path) -> None:
    if not source.exists():
        return
    copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT, 0o600))
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(copy)) as target:
        live.backup(target)
