"""Content of a NIfTI file, compressed or not whatever its name says: read to its end, where the checksum is."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

_MAGIC_GZIP, _MAGIC_BZIP2 = b"\x1f\x8b", b"BZh"  # RFC 1952 section 2.3.1
_NOT_GZIP = "Not a gzipped file"  # what `gzip` says of bytes after the stream: the first ones are known
_CHUNK = 2**20  # bytes inflated at a time
_MAX_SURPLUS = 2**26  # bytes beyond the voxels that are inflated to reach a checksum: what goes on longer may go on for ever
_BLOCK = 512  # tapes and disks fill the last block with zeros


class NiftiContent:
    """Bytes of a NIfTI file without compression, read from the first to the last.

    Parameters
    ----------
    file : BinaryIO
        File that decompresses, or the file itself.
    size : int, optional
        Bytes of the content; None when only reading can tell.
    """

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self._file, self._position, self._beginning = file, 0, b""
        self._failure: DataError | None = None  # to be told again: the library would go on behind the damage
        self.size = size

    def peek(self, count: int) -> bytes:
        """Return the first bytes, before anything else is read; they stay to be read. Errors are those of `read`."""
        self._beginning = self.read(count)
        self._position = 0
        return self._beginning

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer at the end.

        Raises
        ------
        DataError
            ``NII-TRUNCATED`` when a compressed file ends within its stream; ``FILE-DAMAGED`` when it is not valid, or
            its checksum differs (RFC 1952 section 2.3.1).
        OSError
            When the disk cannot be read.
        """
        data, self._beginning = self._beginning[:count], self._beginning[count:]
        try:
            data += b"" if self._failure else self._file.read(count - len(data))
        except EOFError:
            self._failure = truncated_error()
        except zlib.error:
            self._failure = _damaged_error()
        except OSError as error:
            if error.errno is not None:
                raise
            # of `gzip` and `bz2`, not of the system
            self._failure = (
                _appended_error() if isinstance(error, gzip.BadGzipFile) and _NOT_GZIP in str(error) else _damaged_error()
            )
        if self._failure:
            raise self._failure
        self._position += len(data)
        return data

    def read_array(self, offset: int, count: int) -> NDArray[np.uint8]:
        """Return as many bytes from a position on, which in a compressed file must not lie before what was read.

        Raises
        ------
        DataError
            ``NII-TRUNCATED`` or ``FILE-DAMAGED``.
        """
        if self.size is not None:
            if self.size < offset + count:
                raise truncated_error()
            return np.memmap(self._file, np.uint8, "r", offset, (count,))
        while self._position < offset:
            if not self.read(min(_CHUNK, offset - self._position)):
                raise truncated_error()
        array = np.empty(count, dtype=np.uint8)  # takes memory only as it is filled
        filled = 0
        while filled < count:
            data = self.read(min(_CHUNK, count - filled))
            if not data:
                raise truncated_error()
            array[filled : filled + len(data)] = np.frombuffer(data, dtype=np.uint8)
            filled += len(data)
        return array

    def has_surplus(self, end: int, plane: int) -> bool:
        """Return whether more follows than the zeros that fill a block; these are less than a plane of voxels.

        A compressed file that was read up to `end` is read on to its checksum.

        Raises
        ------
        DataError
            ``NII-TRUNCATED`` or ``FILE-DAMAGED``.
        """
        if self.size is not None:
            self._beginning = b""
            self._file.seek(end)
        rest = self.read(_BLOCK)
        self.verify()
        is_padding = len(rest) < min(_BLOCK, plane) and (end + len(rest)) % _BLOCK == 0 and not rest.strip(b"\0")
        return bool(rest) and not is_padding

    def verify(self) -> None:
        """Read on to the checksum of a compressed file, unless it is very far.

        Raises
        ------
        DataError
            ``NII-TRUNCATED`` or ``FILE-DAMAGED``.
        """
        last = self._position + _MAX_SURPLUS
        while self.size is None and self._position < last and self.read(_CHUNK):
            pass


@contextmanager
def open_content(path: Path) -> Iterator[NiftiContent]:
    """Open a file once; gzip and bzip2 are told by their first bytes.

    Raises
    ------
    OSError
        When it cannot be opened.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        magic = file.read(3)
        file.seek(0)
        if magic.startswith(_MAGIC_GZIP):
            yield NiftiContent(stack.enter_context(gzip.GzipFile(fileobj=file)), None)  # type: ignore[arg-type]
        elif magic == _MAGIC_BZIP2:
            yield NiftiContent(stack.enter_context(bz2.BZ2File(file)), None)  # type: ignore[arg-type]
        else:
            yield NiftiContent(file, os.fstat(file.fileno()).st_size)


def truncated_error() -> DataError:
    """Return the error for a file that ends early."""
    return DataError("NII-TRUNCATED", "the file ends early (damaged or cut).", "Copy or convert it again.")


def _damaged_error() -> DataError:
    what = "the compressed file is damaged: its content does not fit its own checksum."
    return DataError("FILE-DAMAGED", what, "Copy it again from where it was right, or convert it again from the DICOM.")


def _appended_error() -> DataError:
    what = "something that is not compressed follows the compressed content of the file."
    return DataError("FILE-DAMAGED", what, "Copy it again from where it was right, or compress it again.")
