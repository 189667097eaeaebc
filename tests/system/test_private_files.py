"""Files for the eyes of a site alone: whole or not there, and read by nobody else."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from medfl.errors import RunError
from medfl.system.private_files import write_private


def test_the_folder_is_made_and_an_older_file_with_other_rights_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "told.json"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"{}")
    assert path.read_bytes() == b"{}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "DISK-FULL"), (errno.EACCES, "RUN-FOLDER")])
def test_a_failure_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError) as caught:
        write_private(tmp_path / "a.json", b"{}", "the fingerprint")
    assert caught.value.code == code
    assert "the fingerprint" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
