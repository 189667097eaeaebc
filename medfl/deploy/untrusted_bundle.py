"""Reader of untrusted bundles: nothing of a bundle is written to disk, imported, or taken on trust."""

from __future__ import annotations

import io
import re
import stat
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medfl.errors import ConfigError, PolicyError, Problem
from medfl.study import Study, flatten, study_from_run_config
from medfl.study.moved_keys import MOVED_NAMES
from medfl.study.study_file import COMPONENTS, STUDY_FILE, Scalar

_MAX_BYTES, _MAX_FILES = 10 * 2**20, 200  # Flower takes no bundle above 10 MiB
_MAX_TEXT_BYTES = 256 * 2**10  # of the pyproject.toml
_MAX_DOTS = 200  # in one line of it: parsing a key of n parts takes time and memory of order n * n
_MAX_CHARACTERS, _MAX_PROBLEMS = 300, 5  # of untrusted text, in a log
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # with any other, Python unpacks more than it was asked for
_DATA_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(toml|json|jsonl|yaml|yml|md)|LICENSE(\.txt|\.md)?|NOTICE(\.txt)?")
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_CONTENT_FILE = ".info/CONTENT"  # Flower's list of the files


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read, and holds no code.

    Parameters
    ----------
    config : dict
        Its flat run configuration.
    """

    config: dict[str, Scalar]


def read_bundle(content: bytes) -> Bundle:
    """Read a bundle; refuse it unless it holds nothing but data.

    Parameters
    ----------
    content : bytes
        The archive.

    Raises
    ------
    PolicyError
        ``BUNDLE-DAMAGED`` when it cannot be read, or only at too high a cost; ``BUNDLE-CODE`` when it holds a file that is
        neither configuration nor text; ``BUNDLE-COMPONENTS`` when it names apps other than medfl's, or packages to install.
    """
    if len(content) > _MAX_BYTES:
        raise _damaged_error()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _require_only_data(archive.infolist())
            document = tomllib.loads(_require_small(archive.read(STUDY_FILE)).decode("utf-8"))
        app = document["tool"]["flwr"]["app"]
        config, is_medfl = (
            _flatten_scalars(app.get("config", {})),
            app["components"] == COMPONENTS and not any(_iter_packages(document)),
        )
    except PolicyError:
        raise
    except Exception:  # the bytes are not trusted: whatever error they cause, the bundle is refused
        raise _damaged_error() from None
    if not is_medfl:
        what = "the bundle names apps other than medfl's, or packages to install."
        raise PolicyError("BUNDLE-COMPONENTS", what, "A study holds no code; ask for a bundle that 'medfl study bundle' made.")
    return Bundle(config)


def read_untrusted_study(config: Mapping[str, Scalar]) -> Study:
    """Read a study from an untrusted configuration.

    Raises
    ------
    ConfigError
        When it is not a valid study; the error's text is safe for a log.
    PolicyError
        ``BUNDLE-SIMULATION`` when it has a table [simulation], which a hospital neither reads nor approves.
    """
    try:
        study = study_from_run_config(config)
    except ConfigError as error:
        raise ConfigError([_describe(problem) for problem in error.problems[:_MAX_PROBLEMS]]) from None
    if any(key.partition(".")[0] == "simulation" for key in config):
        what = "the bundle says how to simulate hospitals, which a hospital does not approve."
        raise PolicyError("BUNDLE-SIMULATION", what, "Ask for a bundle that 'medfl study bundle' made.")
    return study


def _describe(problem: Problem) -> Problem:
    """Return a problem for whoever was sent the bundle, who can neither trust its text nor change it."""
    if problem.key not in MOVED_NAMES:
        return Problem(problem.file, *map(sanitize, (problem.key, problem.what, problem.fix)))
    what = "this bundle was made by an earlier medfl."
    fix = "Ask for one that 'medfl study bundle' of this version made; your approval still holds."
    return Problem(problem.file, problem.key, what, fix)


def sanitize(text: str, max_characters: int = _MAX_CHARACTERS) -> str:
    """Return untrusted text in a form that cannot pass for something else in a terminal or a log.

    Parameters
    ----------
    text : str
        Untrusted.
    max_characters : int, optional
        Characters to show of it.

    Examples
    --------
    >>> sanitize("liver\\x1b[2J\\nApproved.")
    'liver?[2J?Approved.'
    """
    plain = "".join(char if char.isprintable() else "?" for char in text[:max_characters])
    return plain if len(text) <= max_characters else f"{plain} ..."


def _require_only_data(entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(names) > _MAX_FILES or len({name.casefold() for name in names}) != len(names):
        raise _damaged_error()
    if sum(entry.file_size for entry in entries) > _MAX_BYTES or {e.compress_type for e in entries} - set(_COMPRESSIONS):
        raise _damaged_error()
    if [name for name in names if name.casefold().split("/")[-1] == STUDY_FILE] != [STUDY_FILE]:
        raise _damaged_error()
    others = [entry for entry in entries if not _is_data(entry)]
    if others:
        what = f"the bundle holds {len(others)} files that are neither configuration nor text."
        raise PolicyError("BUNDLE-CODE", what, "A study holds no code; nothing of this bundle was used.")


def _is_data(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry is a regular file of a harmless kind under a plain path."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1 or entry.filename != entry.orig_filename:
        return False
    if entry.filename == _CONTENT_FILE:
        return True
    *folders, name = entry.filename.split("/")
    return bool(_DATA_FILE_NAME.fullmatch(name)) and all(map(_FOLDER_NAME.fullmatch, folders))


def _require_small(text: bytes) -> bytes:
    """Refuse a text that a TOML parser would need minutes and gigabytes for."""
    if len(text) > _MAX_TEXT_BYTES or any(line.count(b".") > _MAX_DOTS for line in text.split(b"\n")):
        raise _damaged_error()
    return text


def _flatten_scalars(config: Any) -> dict[str, Scalar]:
    """Flatten a configuration of plain keys and values; plain keys cannot collide when they are flattened."""
    flat = flatten(config)
    if not all(map(_PLAIN_KEY.fullmatch, _iter_keys(config))) or not all(isinstance(v, Scalar) for v in flat.values()):
        raise _damaged_error()
    return flat


def _iter_keys(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        yield key
        if isinstance(value, Mapping):
            yield from _iter_keys(value)


def _iter_packages(document: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the entries that name packages to install."""
    project = document["project"]
    yield from (project.get(key) for key in ("dependencies", "optional-dependencies"))
    yield "dependencies" in project.get("dynamic", ())
    yield document.get("dependency-groups")


def _damaged_error() -> PolicyError:
    return PolicyError("BUNDLE-DAMAGED", "the bundle cannot be read.", "Ask for it again; 'medfl study bundle' makes one.")
