"""Output of libraries: it goes to one private file when somebody asks for it, and nowhere otherwise."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from medfl.data.debug import ENV_VARIABLE, debug_local
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError


def read_badly() -> None:
    """Do what a reader does with a broken file of DOE^JANE."""
    with silence_libraries():
        warnings.warn("tag of DOE^JANE", UserWarning, stacklevel=1)
        logging.getLogger("pydicom").warning("value of %s", "DOE^JANE")
        try:
            raise OSError("/data/DOE_JANE/1.dcm")
        except OSError:
            raise DataError("DCM-READ", "a DICOM file could not be read.") from None


def test_the_originals_are_written_where_somebody_asked_for_them(tmp_path: Path) -> None:
    file = tmp_path / "own" / "debug.log"
    with debug_local(file), pytest.raises(DataError):
        read_badly()
    text = file.read_text()
    for words in ("UserWarning: tag of DOE^JANE", "pydicom: value of DOE^JANE", "OSError: /data/DOE_JANE/1.dcm", "DCM-READ"):
        assert words in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nothing_is_written_or_said_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "debug.log"
    with debug_local(file):
        pass
    with pytest.raises(DataError):
        read_badly()
    assert file.read_text() == ""
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pydicom").propagate


def test_a_file_that_others_could_read_is_closed_to_them_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "debug.log"
    file.write_text("older\n")
    file.chmod(0o644)
    with debug_local(file), pytest.raises(DataError):
        read_badly()
    assert file.read_text().startswith("older\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("spoil", [lambda p: p.mkdir(), lambda p: p.symlink_to("elsewhere")], ids=["a folder", "a link"])
def test_what_is_no_file_is_refused(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    spoil(tmp_path / "debug.log")
    with pytest.raises(DataError, match="DEBUG-UNWRITABLE"), debug_local(tmp_path / "debug.log"):
        pass
    assert ENV_VARIABLE not in os.environ
    assert not (tmp_path / "elsewhere").exists()


def test_processes_that_are_started_inside_write_there_too(tmp_path: Path) -> None:
    code = "from medfl.data import debug; debug.log_error(ValueError('said by a worker'))"
    with debug_local(tmp_path / "debug.log"):
        subprocess.run([sys.executable, "-c", code], check=True)
    assert "ValueError: said by a worker" in (tmp_path / "debug.log").read_text()
