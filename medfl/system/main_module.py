"""The program that runs, ``__main__``, and processes that are started without running it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import spawn
from typing import Any

_is_hidden = ContextVar("_is_hidden", default=False)
_get_all_data = spawn.get_preparation_data


@contextmanager
def main_hidden() -> Iterator[None]:
    """Keep processes that this thread starts meanwhile from running the program again that starts them.

    They would need its ``if __name__ == "__main__"``, which a notebook cannot have and a script may lack, and they need none of
    its functions.
    """
    token = _is_hidden.set(True)
    try:
        yield
    finally:
        _is_hidden.reset(token)


def _get_preparation_data(name: str) -> dict[str, Any]:
    """Return what a new process is told to prepare, without the program in `main_hidden`."""
    data = _get_all_data(name)
    return {key: value for key, value in data.items() if not (_is_hidden.get() and key.startswith("init_main_from_"))}


# Once, and for every thread: ``sys.modules["__main__"]``, by which others pickle their classes meanwhile, stays as it is.
spawn.get_preparation_data = _get_preparation_data
