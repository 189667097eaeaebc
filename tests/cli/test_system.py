"""Systems that medfl does not support: it says so before anything else fails."""

from __future__ import annotations

import importlib
import sys

import pytest

import medfl.cli
import medfl.system


def test_native_windows_gets_one_sentence_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delitem(sys.modules, "medfl.system")
    monkeypatch.setattr(medfl, "system", None)
    with pytest.raises(SystemExit) as ended:
        medfl.cli.main()
    assert "Linux and macOS" in str(ended.value)
    assert "WSL" in str(ended.value)
    with pytest.raises(ImportError, match="WSL"):
        importlib.import_module("medfl.system")
