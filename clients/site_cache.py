"""Cache of the sites that a process reads: each ``site.toml`` is read once, and again when it changes.

It loads neither torch nor MONAI, so a worker learns at once that its site.toml is wrong.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from medfl.site import Site, read_site

_CACHE_SIZE = 64  # sites


def read_current_site(path: Path) -> Site:
    """Return the site of a ``site.toml``, or of its folder, as the file is now.

    Raises
    ------
    ConfigError
        With every problem of the file.
    """
    file = (path / "site.toml" if path.is_dir() else path).resolve()
    return _read_site(file, _file_stamp(file))


@lru_cache(maxsize=_CACHE_SIZE)
def _read_site(file: Path, stamp: tuple[int, ...]) -> Site:
    return read_site(file)


def _file_stamp(file: Path) -> tuple[int, ...]:
    """Return what changes when a ``site.toml`` is edited or replaced."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
