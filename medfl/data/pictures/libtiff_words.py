"""What libtiff says while Pillow decodes: it writes to standard error, and reads on with wrong pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from medfl.data.pictures.integrity import damaged_error
from medfl.data.stderr_words import hold_back_stderr

_DAMAGE = re.compile(rb"^(Fax\w*:|JPEGLib: (Corrupt|Premature|Unsupported))", re.MULTILINE)


@contextmanager
def damage_by_libtiff() -> Iterator[None]:
    """Hold back what libtiff says in the block, and raise an error at its end if that is of damage.

    Raises
    ------
    DataError
        ``FILE-DAMAGED``.
    """
    with hold_back_stderr() as words:
        yield
    if _DAMAGE.search(words):
        raise damaged_error()
