"""Answers that a site keeps whole, so that the same question gets the same bits again: one file each, of mode 0600.

A file holds the length of its frame, the frame, the length of the data of each array, and the data; lengths have 8 bytes. Its
SHA-256 stands in the ledger, so that a damaged file is never sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO

from flwr.app import Array, ArrayRecord, RecordDict

from medfl.errors import DataError
from medfl.flower.record_bytes import frame_from_bytes, frame_to_bytes
from medfl.privacy.ledger_database import ANSWERS_FOLDER, translate_ledger_errors
from medfl.system.files import sync_folder, write_file

_NUMBER_BYTES = 8
_ABANDONED_SECONDS = 86400.0  # after which a file that the ledger does not know belongs to no process any more


def answers_folder(folder: Path) -> Path:
    """Return the folder of the answers in that of a ledger."""
    return folder / ANSWERS_FOLDER


class AnswerFiles:
    """Files of answers, in a folder for each study and run. Each gets a name of its own, so that no file ever changes.

    Trained models, which are large, lie in a folder ``models`` of their own, which `medfl data purge --runs` removes.

    Parameters
    ----------
    folder : Path
        The folder; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, key: tuple[str, str, str, str, int, str], content: RecordDict) -> tuple[str, str]:
        """Keep an answer, durably, and return the name of its file and its hash.

        Raises
        ------
        DataError
            ``LEDGER-DAMAGED`` when the disk refuses.
        """
        study, run, _, kind, round_, _ = key
        parts = [study[:16], hashlib.sha256(run.encode()).hexdigest()[:16], *(["models"] if kind == "train" else [])]
        with translate_ledger_errors():
            folder = self._folder
            for part in parts:
                folder = folder / part
                if not folder.is_dir():
                    folder.mkdir(mode=0o700, exist_ok=True)
                    sync_folder(folder.parent)
            path = folder / f"{kind}-{round_}-{secrets.token_hex(8)}.answer"
            return path.relative_to(self._folder).as_posix(), write_answer(path, content)

    def read(self, name: str, sha256: str) -> RecordDict | None:
        """Return an answer, or None when its file is gone; raise as `read_answer` when it is damaged."""
        with translate_ledger_errors():
            try:
                return read_answer(self._folder / name, sha256)
            except FileNotFoundError:
                return None

    def remove(self, names: Iterable[str]) -> None:
        """Remove answers that the ledger no longer names; what cannot be removed now goes with `remove_unknown`."""
        for name in names:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()

    def remove_unknown(self, known: Collection[str]) -> None:
        """Remove what processes left that were killed between keeping an answer and recording it, and empty folders."""
        for path in sorted(self._folder.rglob("*"), reverse=True):
            with contextlib.suppress(OSError):  # another process was faster, or the folder is not empty
                if path.relative_to(self._folder).as_posix() not in known and _is_abandoned(path):
                    path.rmdir() if path.is_dir() else path.unlink()


def write_answer(path: Path, content: RecordDict) -> str:
    """Write an answer and wait until the disk has it.

    Parameters
    ----------
    path : Path
        The file, in a folder that exists.
    content : RecordDict
        The answer. The data of its arrays is written from where it is, without a copy.

    Returns
    -------
    str
        SHA-256 of the file, in hexadecimal.

    Raises
    ------
    OSError
        When the system refuses; an older file is unchanged then.
    """
    frame = frame_to_bytes(content)
    data = [array.data for array in _iter_arrays(content)]
    parts = [_number(len(frame)), frame, *(_number(len(d)) for d in data), *data]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_file(path, parts, private=True)
    return digest.hexdigest()


def read_answer(path: Path, sha256: str) -> RecordDict:
    """Return an answer that `write_answer` wrote.

    Raises
    ------
    FileNotFoundError
        When it is no longer kept.
    DataError
        ``LEDGER-DAMAGED`` when it is not what was written.
    """
    with path.open("rb") as file:
        reader = _Reader(file)
        try:
            content = frame_from_bytes(reader.take(reader.take_number()))
            names = [(record, name) for record, arrays in content.array_records.items() for name in arrays]
            sizes = [reader.take_number() for _ in names]
            for (record, name), size in zip(names, sizes, strict=True):
                array = content.array_records[record][name]
                arrays = content[record]
                assert isinstance(arrays, ArrayRecord)
                arrays[name] = Array(array.dtype, array.shape, array.stype, reader.take(size))
        except ValueError:
            raise _damaged() from None
        if reader.digest.hexdigest() != sha256 or file.read(1):
            raise _damaged()
    return content


def _is_abandoned(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS


class _Reader:
    """Reads parts of a file, and digests them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()
        self._left = file.seek(0, 2)
        file.seek(0)

    def take(self, size: int) -> bytes:
        if size > self._left:  # before so much memory is asked for
            raise ValueError("the file is too short")
        self._left -= size
        part = self._file.read(size)
        self.digest.update(part)
        return part

    def take_number(self) -> int:
        return int.from_bytes(self.take(_NUMBER_BYTES), "little")


def _iter_arrays(content: RecordDict) -> Iterator[Array]:
    for record in content.array_records.values():
        yield from record.values()


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES, "little")


def _damaged() -> DataError:
    what = "an answer that this site gave, and keeps to give it again, is not what was written."
    return DataError("LEDGER-DAMAGED", what, "Restore the folder 'budget' from a copy, and have the disk checked.")
