"""Processes that do not run the program again that starts them, while its other threads go on."""

from __future__ import annotations

import sys
import threading
import types
from multiprocessing import spawn

import pytest

from medfl.system.main_module import main_hidden


def _tells_of_main() -> bool:
    return any(key.startswith("init_main") for key in spawn.get_preparation_data("process"))


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Return a ``__main__`` that is a file, as that of a script."""
    main = types.ModuleType("__main__")
    main.__file__ = "/script.py"
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def test_the_program_is_hidden_from_new_processes_alone(program: types.ModuleType) -> None:
    assert _tells_of_main()
    with main_hidden():
        assert not _tells_of_main()
        assert sys.modules["__main__"] is program
        with main_hidden():
            pass
        assert not _tells_of_main()
    assert _tells_of_main()


def test_blocks_of_two_threads_that_overlap_leave_the_program_as_it_was(program: types.ModuleType) -> None:
    is_inside, is_over = threading.Event(), threading.Event()
    told: list[bool] = []

    def hide() -> None:
        with main_hidden():
            is_inside.set()
            is_over.wait(60)
            told.append(_tells_of_main())

    thread = threading.Thread(target=hide)
    with main_hidden():
        thread.start()
        assert is_inside.wait(60)
    told.append(_tells_of_main())  # the other thread's block says nothing of the processes of this one
    is_over.set()
    thread.join()
    assert told == [True, False]
    assert sys.modules["__main__"] is program
