"""Replies of a round on disk, for rules that need all of them at once."""

from __future__ import annotations

import math
import mmap
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from medfl.errors import ExchangeError
from medfl.messages.models import Tensor, Tensors, check_finite, check_layout, check_weight, iter_blocks, layout_of
from medfl.system.files import translate_disk_errors

_ALIGNMENT = 64  # bytes: where a tensor may start
_BLOCK_BYTES = 2**21  # of all replies together: such a block stays in the cache


class DiskReplies:
    """Replies in one temporary file without a name, which only this process can read and which vanishes with it.

    What is read back does not depend on the order of arrival: everything is in the order of the sites' names. Memory holds one
    block of columns and the mapped pages of at most one reply, whatever the number of replies.

    Parameters
    ----------
    reference : mapping of str to ndarray
        The model that was sent out: it decides the names, shapes and types that a reply must have.
    folder : Path, optional
        Folder on a disk with space for all replies; that of temporary files (``TMPDIR``) unless given.
    buffers : collection of str
        Names of the floating-point tensors that are no parameters; they count in no distance.

    Attributes
    ----------
    reference : mapping of str to ndarray
        The same model.
    buffers : frozenset of str
        The same names.

    Raises
    ------
    ExchangeError
        ``MODEL-TYPE`` for a tensor that is neither floating point (16, 32, 64 bits), integer nor boolean.
    RunError
        ``RUN-FOLDER`` when no file can be created there.

    Examples
    --------
    >>> with DiskReplies({"w": np.zeros(2, np.float32)}) as replies:
    ...     replies.add("north", {"w": np.array([1, 2], np.float32)}, 10)
    ...     replies.add("east", {"w": np.array([3, 4], np.float32)}, 20)
    ...     [(name, start, values.tolist()) for name, start, values in replies.columns()]
    [('w', 0, [[3.0, 4.0], [1.0, 2.0]])]
    """

    def __init__(self, reference: Tensors, folder: Path | None = None, buffers: Collection[str] = ()) -> None:
        self.reference, self.buffers = reference, frozenset(buffers)
        self._layout = layout_of(reference)
        self._offsets: dict[str, int] = {}  # of each tensor in a reply, in bytes
        end = 0
        for name, (shape, dtype) in self._layout.items():
            self._offsets[name] = end
            end += _round_up(math.prod(shape) * dtype.itemsize, _ALIGNMENT)
        self._stride = _round_up(max(end, 1), mmap.ALLOCATIONGRANULARITY)
        self._weights: dict[str, float] = {}  # in the order of the replies in the file
        self._mapped: mmap.mmap | None = None
        with translate_disk_errors("the replies of the round"):
            self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 (closed by close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the space on disk; tensors of `reply` that are still held keep it until they are dropped."""
        self._mapped = None
        self._file.close()

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites whose replies are kept, in alphabetical order; rows of `columns` are in this order."""
        return tuple(sorted(self._weights))

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each reply, in the order of `sites`."""
        return {site: self._weights[site] for site in self.sites}

    def add(self, site: str, arrays: Tensors, weight: float) -> None:
        """Keep one reply.

        Parameters
        ----------
        site : str
            Name of the site that sent it.
        arrays : mapping of str to ndarray
            The reply: names, shapes and types of the reference, in any order; narrower floats are kept in the model's type.
        weight : float
            Its weight, from 2**-10 to 2**53.

        Raises
        ------
        ExchangeError
            ``REPLY-TWICE``, ``WEIGHT-RANGE``, ``MODEL-MISMATCH`` or ``UPDATE-NONFINITE``; nothing has changed then.
        RunError
            ``DISK-FULL`` when there is no space for it; the earlier replies are still there.
        """
        if site in self._weights:
            raise ExchangeError("REPLY-TWICE", "a second reply came from the same site.")
        check_weight(weight)
        check_layout(arrays, self._layout)
        check_finite(arrays)
        with translate_disk_errors("the replies of the round", "start the run again, or set TMPDIR to a larger disk"):
            self._write(arrays, len(self._weights) * self._stride)
        self._weights[site] = float(weight)

    def reply(self, site: str) -> dict[str, Tensor]:
        """Return a reply as read-only views of the file, in the names, order, shapes and types of the reference."""
        mapped, start = self._map(), list(self._weights).index(site) * self._stride
        return {
            name: np.frombuffer(mapped, dtype, math.prod(shape), start + self._offsets[name]).reshape(shape)
            for name, (shape, dtype) in self._layout.items()
        }

    def parameter_columns(self) -> Iterator[tuple[str, int, Tensor]]:
        """Yield the parameters of all replies side by side, as `columns` does."""
        return self.columns(names=self._layout.keys() - self.buffers)

    def columns(self, block: int | None = None, *, names: Collection[str] | None = None) -> Iterator[tuple[str, int, Tensor]]:
        """Yield the floating-point tensors of all replies side by side.

        Parameters
        ----------
        block : int, optional
            Number of values of a tensor at a time; as many as stay in the cache unless given.
        names : collection of str, optional
            Tensors to yield; all unless given.

        Yields
        ------
        tuple of str, int and ndarray
            Name of the tensor, start of the block in the flattened tensor, and the values: shape (replies, size), in the
            model's type, one row for each of `sites`. The caller may overwrite them; the next step does so in any case.
        """
        starts = [list(self._weights).index(site) * self._stride for site in self.sites]
        for name, (shape, dtype) in self._layout.items():
            if dtype.kind != "f" or not starts or (names is not None and name not in names):
                continue
            size = math.prod(shape)
            width = block or max(1024, _BLOCK_BYTES // (len(starts) * dtype.itemsize))
            rows = np.empty((len(starts), min(width, size)), dtype)
            for start in range(0, size, width):
                values = rows[:, : size - start]
                for row, begin in zip(values, starts, strict=True):
                    self._file.seek(begin + self._offsets[name] + start * dtype.itemsize)
                    self._file.readinto(row)
                yield name, start, values

    def build_model(self, parts: Iterable[tuple[str, int, Tensor]], sites: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Put a model together: floats from their blocks, integer and boolean tensors as the elementwise maximum.

        Parameters
        ----------
        parts : iterable of tuple
            Name, start and values of every block of the floating-point tensors, as `columns` gives them, of shape (size,).
        sites : iterable of str, optional
            Sites whose integer and boolean tensors count; all unless given.

        Returns
        -------
        dict of str to ndarray
            Names, order, shapes and types of the reference.

        Raises
        ------
        ExchangeError
            ``WEIGHT-ZERO`` when there is no reply.
        """
        chosen = tuple(self.sites if sites is None else sites)
        if not chosen:
            raise ExchangeError("WEIGHT-ZERO", "there is no reply to average.", "See why each reply was left out.")
        model = {name: np.empty(math.prod(shape), dtype) for name, (shape, dtype) in self._layout.items()}
        for name, start, values in parts:
            model[name][start : start + values.size] = values
        for k, site in enumerate(chosen):
            for name, values in self.reply(site).items():
                if values.dtype.kind != "f":
                    flat = values.reshape(-1)
                    model[name][:] = np.maximum(model[name], flat) if k else flat
        return {name: model[name].reshape(shape) for name, (shape, _) in self._layout.items()}

    def _write(self, arrays: Tensors, begin: int) -> None:
        for name, (_, dtype) in self._layout.items():
            self._file.seek(begin + self._offsets[name])
            for _, _, block in iter_blocks({name: np.ascontiguousarray(arrays[name]).reshape(-1)}):
                rest = block.astype(dtype, copy=False).data.cast("B")
                while rest:  # a disk may take less than it is given
                    rest = rest[self._file.write(rest) :]
        self._file.truncate(begin + self._stride)

    def _map(self) -> mmap.mmap:
        """Map all replies; pages that were read before are dropped, and read from the file again when needed."""
        length = len(self._weights) * self._stride
        if self._mapped is None or len(self._mapped) < length:
            self._mapped = mmap.mmap(self._file.fileno(), length, access=mmap.ACCESS_READ)
        elif hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)
        return self._mapped


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step
