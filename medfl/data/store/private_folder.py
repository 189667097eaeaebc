"""Private folders of the store, and the error when the store cannot be written."""

from __future__ import annotations

from pathlib import Path

from medfl.errors import DataError


def make_private_folder(folder: Path) -> None:
    """Make a folder of mode 0700 unless it exists, and those above it that are missing.

    Raises
    ------
    DataError
        ``STORE-UNWRITABLE``.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unwritable_error(error) from None


def unwritable_error(error: OSError) -> DataError:
    """Return the error of a store that cannot be written, without the system's own text, which holds the path."""
    what = f"the store of prepared data cannot be written ({type(error).__name__})."
    return DataError("STORE-UNWRITABLE", what, "Check its folder, or name another as resources.store in the site.toml.")
