"""No identity of a patient is in what a command prints or writes, whatever is wrong with the files that it reads."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.privacy.test_privacy import LOUD, STUDY

FLAT = (
    STUDY[: STUDY.index("task =")]
    + """
task = {kind = "classification", dimension = 2, modality = "XR", classes = "clear,nodule"}
preprocessing = {size = "32,32"}
splits = {validation = 0.25, test = 0.25}
network = {name = "cnn", channels = "4,8", residual-units = 0}
loss = {name = "cross-entropy"}
"""
)

# runs each command as a shell would, in one process, and says how each ended
DRIVER = """
import json, sys
from medfl.cli import app
for argv in json.loads(sys.argv[1]):
    sys.argv = ["medfl", *argv]
    try:
        app.main()
        code = 0
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        print("ENDED", *argv[:2], code, file=stream, flush=True)
"""

# one line a command: its words, where {site} is a site.toml, {study} a study, and {out} a folder
COMMANDS = (
    "data index {site}",
    "data index {site} --json",
    "data check {site} {study} --verbose",
    "data check {site} {study} --workers 2 --html {out}/check.html --json {out}/check.json",
    "data check {site} --fast --verbose",
    "data prepare {site} {study} --check",
    "data prepare {site} {study} --workers 2",
    "data prepare {site} {study} --json",
    "data fingerprint {site} {study} --out {out}/fingerprint.json",
    "study plan {study} --fingerprint {out}/fingerprint.json --dry-run",
    "data purge {site} --dry-run",
)
LOOKS = {"data index", "data check"}  # commands that tell a site on its own screen which classes it has
OWN_REPORTS = {"check.html", "check.json"}  # and files for its own eyes that do
SITES = ("north", "east", "west", "lost", "pictures")
LOCAL = ("index.sqlite",)  # what may hold identities, for its owner alone


@pytest.mark.slow
@pytest.mark.parametrize("name", ["south", *SITES])
def test_no_identity_is_in_what_a_command_writes_and_prints(name: str, canaries: Any, tmp_path: Path) -> None:
    folder = canaries.folder.parent / f"{canaries.folder.name}-pictures" if name == "pictures" else canaries.folder / name
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    done = run(FLAT if name == "pictures" else STUDY, folder / "site.toml", tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output.decode()
    ended = [line.split()[1:] for line in done.stdout.decode().splitlines() if line.startswith("ENDED")]
    assert [" ".join(words[:2]) for words in ended] == [" ".join(line.split()[:2]) for line in COMMANDS]
    unplanned = ["fingerprint"] if name == "pictures" else []  # only segmentation has a plan
    assert {words[-1] for words in ended if words[0] == "data" and words[1] not in unplanned} <= {"0", "1", "None"}, ended
    assert name == "lost" or (tmp_path / "out" / "check.html").is_file()
    assert canaries.found_in(output) <= {"class"}
    printed = [*texts_by_command(done.stdout), *texts_by_command(done.stderr)]
    assert {command for command, text in printed if canaries.found_in(text)} <= LOOKS
    written = canaries.found_below(tmp_path / "out")
    assert set(written) <= OWN_REPORTS
    assert set().union(*written.values()) <= {"class"}
    stored = canaries.found_below(tmp_path / "store")
    assert [path for path in stored if Path(path).name not in LOCAL] == []
    private = [tmp_path / "store", *(path for path in (tmp_path / "store").rglob("*") if path.name in LOCAL)]
    assert [path.name for path in private if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before  # nothing is written among the images


def test_messages_of_libraries_are_in_the_debug_file_alone(canaries: Any, tmp_path: Path) -> None:
    file = tmp_path / "debug" / "local.log"
    line = "--debug-local {out}/../debug/local.log data prepare {site} {study}"
    done = run(STUDY, canaries.folder / "south" / "site.toml", tmp_path, (line,))
    assert b"Traceback (most recent call last)" in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert canaries.found_in(done.stdout + done.stderr) == set()
    assert {Path(path).name for path in canaries.found_below(tmp_path / "store")} <= set(LOCAL)


def texts_by_command(stream: bytes) -> list[tuple[str, bytes]]:
    """Return what each command printed, with its words."""
    parts = re.split(rb"^ENDED (\S+ \S+) .*\n", stream, flags=re.MULTILINE)
    assert len(parts) == 2 * len(COMMANDS) + 1
    assert not parts[-1].strip()
    return [(words.decode(), text) for text, words in zip(parts[::2], parts[1::2], strict=False)]


def run(study: str, site: Path, tmp_path: Path, lines: Sequence[str] = COMMANDS) -> subprocess.CompletedProcess[bytes]:
    """Give all commands in one process, as loud as it can be; the output is that of its file descriptors."""
    for place, file, text in (("study", "pyproject.toml", study), ("loud", "sitecustomize.py", LOUD), ("out", ".keep", "")):
        (tmp_path / place).mkdir()
        (tmp_path / place / file).write_text(text)
    words = {"site": str(site), "study": str(tmp_path / "study"), "out": str(tmp_path / "out")}
    commands = [[word.format(**words) for word in line.split()] for line in lines]
    paths = [str(tmp_path / "loud"), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {"PYTHONPATH": os.pathsep.join(paths), "MEDFL_STORE": str(tmp_path / "store"), "COLUMNS": "200"}
    command = [sys.executable, "-c", DRIVER, json.dumps(commands)]
    return subprocess.run(command, capture_output=True, env=os.environ | settings, timeout=600, cwd=tmp_path)
