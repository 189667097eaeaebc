"""Unfinished copies: hidden files that programs write while they copy, and leave behind where they are interrupted."""

from __future__ import annotations

import os
import re

_UNFINISHED = re.compile(
    r"\.(?P<rsync>[^._].*)\.[A-Za-z0-9]{6}"
    r"|[.~]syncthing[.~](?P<syncthing>.+)\.tmp"
    r"|\.(?P<nextcloud>[^._].*)\.~[0-9a-f]+"
    r"|\.in\.(?P<ftp>.+)\."
)


def finished_name(name: str) -> str:
    """Return what a file is called once it is copied; the name itself if it is none of an unfinished copy.

    Examples
    --------
    >>> finished_name(".IM0014.dcm.Xk2pQ9"), finished_name("~syncthing~IM0014.dcm.tmp"), finished_name(".IM0014.dcm")
    ('IM0014.dcm', 'IM0014.dcm', '.IM0014.dcm')
    """
    found = _UNFINISHED.fullmatch(name)
    return next(filter(None, found.groups()), name) if found else name


def is_unfinished(path: str) -> bool:
    """Return whether a file is an unfinished copy, by its name."""
    return _UNFINISHED.fullmatch(os.path.basename(path)) is not None
