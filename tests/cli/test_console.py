"""What commands print: plain text in any encoding, and one sentence where the disk refuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main
from typer.testing import CliRunner

from medfl.cli.app import app, main
from medfl.cli.console import PlainConsole, output, print_json, spell_unencodable
from medfl.cli.doctor import _MARKS


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run a command in this process, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["medfl", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a-file"
    path.touch()
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["data", "synth", "FILE/x", "--kind", "nodule"],
        ["study", "bundle", "STUDY", "--out", "FILE/x"],
        ["site", "init", "x", "--folder", "FILE/x"],
        ["sweep", "STUDY", "--data", "DATA", "--strategies", "fedavg", "--out", "FILE"],
        ["server", "init", "FILE/x", "--name", "x", "--address", "localhost:9000"],
    ],
    ids=" ".join,
)
def test_a_folder_that_cannot_be_written_is_one_sentence(
    command: list[str],
    file: Path,
    nodule_study: Path,
    nodule_hospitals: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"FILE": str(file), "STUDY": str(nodule_study), "DATA": str(nodule_hospitals)}
    words = [next((word.replace(k, v) for k, v in places.items() if k in word), word) for word in command]
    monkeypatch.setattr("medfl.simulation.worker_pool.warm_up", lambda: None)
    assert run(monkeypatch, *words) == 1
    told = capsys.readouterr().err
    assert "[RUN-FOLDER]" in told
    assert "cannot be written" in told


def test_a_store_that_cannot_be_written_is_one_sentence(
    file: Path, nodule_study: Path, nodule_hospitals: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDFL_STORE", str(file / "x"))
    monkeypatch.setattr("medfl.simulation.worker_pool.warm_up", lambda: None)
    assert run(monkeypatch, "simulate", nodule_study, "--data", nodule_hospitals) == 1
    assert "[STORE-UNWRITABLE] the store of the simulation cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            PermissionError(13, "Permission denied", "/data/of/a/patient"),
            "[RUN-FOLDER] a file of this command cannot be written",
        ),
        (OSError(28, "No space left on device"), "[DISK-FULL]"),
        (FileNotFoundError(2, "No such file", "/data/of/a/patient"), "[FILE-MISSING]"),
    ],
)
def test_what_no_command_expects_of_a_disk_is_told_without_a_path(
    error: OSError, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr("medfl.api.list_runs", fail)
    assert run(monkeypatch, "runs", tmp_path) == 1
    printed = capsys.readouterr().err
    assert told in printed
    assert "patient" not in printed


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_cannot_hold_is_spelled(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    spell_unencodable()
    output.print("hospitals’ −0.10 ±0.02 … Kraków \udcff")
    print_json({"note": "±0.02"})
    sys.stdout.flush()
    printed = written.getvalue().decode(encoding)
    text, _, document = printed.partition("\n")
    assert text.replace("±", "+/-").replace("ó", "o") == "hospitals' -0.10 +/-0.02 ... Krakow ?"
    assert json.loads(document) == {"note": "±0.02"}


def test_the_marks_of_doctor_differ_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    spell_unencodable()
    for mark, _ in _MARKS.values():
        output.print(mark)
    sys.stdout.flush()
    assert written.getvalue().decode().split() == ["ok", "!", "X"]


def test_a_command_works_in_ascii(nodule_study: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-m", "medfl", "study", "check", "--help"]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0
    assert done.stdout.decode("ascii")


def test_brackets_and_colons_are_text_and_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Run: pip install 'flwr-medfl[ray]' :smile: " + "word " * 40
    PlainConsole().print(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_on_a_terminal_text_is_broken_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # with which rich takes any stream for a terminal
    monkeypatch.setenv("COLUMNS", "40")
    text = "The index has no column " + "and one more word " * 10
    PlainConsole().print(text)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 40
    assert " ".join(printed.split()) == text.strip()


def test_what_is_not_a_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"score": float("nan"), "rounds": 3})
    assert json.loads(capsys.readouterr().out) == {"score": None, "rounds": 3}


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def test_no_help_text_loses_what_stands_in_brackets() -> None:
    checked = 0
    for path, command in commands(typer.main.get_command(app)):
        texts = [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
        words = [word for text in texts for word in text.split() if "[" in word]
        shown = "".join(CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"}).output.split()) if words else ""
        assert all(word.replace("\\[", "[") in shown for word in words), path
        checked += len(words)
    assert checked


@pytest.mark.parametrize("words", [["studdy"], *([group, "chekc"] for group in ("study", "data", "site", "server", "audit"))])
def test_a_misspelt_command_gets_one_hint_at_most(words: list[str]) -> None:
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert done.output.count("Did you mean") == (1 if words[0] in ("studdy", "study", "data") else 0)
