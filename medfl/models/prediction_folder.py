"""Folder of predictions: what is in it is whole, and a second call goes on where the first one stopped."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medfl.data.data_folder import DataFolder
from medfl.data.index.prediction_folders import ABOUT_FILE, RECORDS_FOLDER
from medfl.data.predictions import translate_write_errors
from medfl.errors import DataError, RunError
from medfl.runs.case_table import CASES_FILE, CaseResult, CaseTable, StructureResult, Unit, write_case_table
from medfl.runs.history import to_json_value
from medfl.system.files import make_private_folder, read_json, write_file
from medfl.system.locks import take_lock

SUMMARY_FILE = "summary.json"
NAMES_FILE = "names.csv"  # with original names: what is behind each pseudonym
_LOCK_FILE = ".lock"
_FORMAT = 1


@dataclass(frozen=True)
class CaseRecord:
    """What was predicted of one case, as its JSON file holds it.

    Parameters
    ----------
    result : CaseResult
        Probabilities, volumes and scores, by pseudonym.
    key : str
        Hash of all that the prediction depends on besides what the folder says of itself: the content of image and label.
    files : tuple of str
        Names of the files that hold the prediction, in the folder.
    grid : dict
        Shape and spacing (mm) of the image as read.
    warnings : tuple of (str, str, str)
        What was noticed: codes, what is so, and what to do.
    names : dict
        With original names: the patient and the files; empty otherwise.
    sizes : tuple of int
        Bytes of each file, by which one that was cut or replaced is known; `PredictionFolder.add` looks them up.
    """

    result: CaseResult
    key: str
    files: tuple[str, ...] = ()
    grid: Mapping[str, Any] | None = None
    warnings: tuple[tuple[str, str, str], ...] = ()
    names: Mapping[str, Any] | None = None
    sizes: tuple[int, ...] = ()


class PredictionFolder:
    """A folder of predictions, locked for as long as it is open; use it in a ``with`` statement.

    Parameters
    ----------
    path : Path
        The folder; made for its owner alone if it is missing.
    about : mapping
        What makes the predictions: models, options, and of the data a keyed name, as JSON values. A folder that says something
        else is another one.
    again : bool
        Whether to predict anew what is there; the folder may be of other models or data then.

    Raises
    ------
    RunError
        ``PRED-OUT`` when the folder holds something else, predictions of other models, options or data, or is in use.
    DataError
        ``PRED-WRITE`` when it cannot be written.
    DiskFullError
        ``DISK-FULL``.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], *, again: bool = False) -> None:
        self.path = path
        self._about = {"format": _FORMAT, **about}
        self._records: dict[str, CaseRecord] = {}
        _require_own(path)
        with translate_write_errors():
            make_private_folder(path)
            make_private_folder(path / RECORDS_FOLDER)
            self._lock = (path / _LOCK_FILE).open("a")
        try:
            self._start(again=again)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> PredictionFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _start(self, *, again: bool) -> None:
        if not take_lock(self._lock):
            raise _refuse("another 'medfl predict' is writing into it.", "Wait for it, or name another folder with '--out'.")
        there = read_json(self.path / ABOUT_FILE)
        for file in sorted((self.path / RECORDS_FOLDER).glob("*.json")):
            if record := _read_record(file):
                self._records[record.result.case] = record
        if there != self._about and not again and (there is not None or self._records):  # of a damaged one nothing is known
            fix = "Name another folder with '--out', or give '--again' to replace what is in it."
            raise _refuse(f"it holds predictions of other {_differing(there or {}, self._about)}.", fix)
        with translate_write_errors():
            if again:
                for name in list(self._records):
                    self.remove(name)
            self._write(ABOUT_FILE, self._about)

    @property
    def records(self) -> tuple[CaseRecord, ...]:
        """All cases that are done, in the order of their pseudonyms."""
        return tuple(record for _, record in sorted(self._records.items()))

    def find(self, case: str, key: str) -> CaseRecord | None:
        """Return what is there of a case, if it was made of the same content and is whole."""
        record = self._records.get(case)
        if record is None or record.key != key or tuple(map(self._size, record.files)) != record.sizes:
            return None
        return record

    def _size(self, name: str) -> int:
        """Return the bytes of a file, -1 if it is not there."""
        path = self.path / name
        return path.stat().st_size if path.is_file() else -1

    def remove(self, case: str) -> None:
        """Take what is there of a case away, the record first, so that nothing that is gone counts as done."""
        record = self._records.pop(case, None)
        (self.path / RECORDS_FOLDER / f"{case}.json").unlink(missing_ok=True)
        for name in record.files if record else ():
            (self.path / name).unlink(missing_ok=True)

    def remove_others(self, cases: Collection[str]) -> tuple[str, ...]:
        """Take away what is there of all but these cases, and return the pseudonyms of those that were there."""
        others = tuple(sorted(set(self._records).difference(cases)))
        with translate_write_errors():
            for case in others:
                self.remove(case)
        return others

    def add(self, record: CaseRecord) -> CaseRecord:
        """Write the record of a case whose files are written: it is done from now on; return it with their sizes."""
        record = replace(record, sizes=tuple(map(self._size, record.files)))
        with translate_write_errors():
            self._write(os.path.join(RECORDS_FOLDER, f"{record.result.case}.json"), _to_json(record))
        self._records[record.result.case] = record
        return record

    def write_tables(self, cases: Sequence[str], unit: Unit, summary: Mapping[str, Any]) -> None:
        """Write the table of cases and the summary.

        Parameters
        ----------
        cases : sequence of str
            Pseudonyms in the order of the table; those that are not done are left out.
        unit : {"ml", "px"}
            Unit of sizes.
        summary : mapping
            JSON values.
        """
        done = [self._records[case] for case in cases if case in self._records]
        write_case_table(self.path / CASES_FILE, CaseTable(tuple(record.result for record in done), unit))
        if any(record.names for record in done):
            self._write_names(done)
        with translate_write_errors():
            self._write(SUMMARY_FILE, {**summary, "cases": [_to_json(record) for record in done]})

    def _write_names(self, done: Sequence[CaseRecord]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("case", "patient", "image", "prediction"))
        for record in done:
            names = record.names or {}
            writer.writerow((record.result.case, names.get("patient", ""), names.get("image", ""), " ".join(record.files)))
        with translate_write_errors():
            write_file(self.path / NAMES_FILE, text.getvalue().encode(), private=True, durable=False)

    def _write(self, name: str, values: object) -> None:
        content = json.dumps(to_json_value(values), indent=1, allow_nan=False).encode()
        write_file(self.path / name, content, private=True, durable=False)


def require_place(out: Path, data: DataFolder) -> None:
    """Refuse a folder for predictions that holds something else, or lies within the data, where the next call would find them.

    Where one file or a table was named, nothing else is looked at, so predictions may lie beside it.

    Raises
    ------
    RunError
        ``PRED-OUT``.
    DataError
        ``PRED-WRITE`` when it cannot be read.
    """
    place, root = out.resolve(), data.site.root
    is_listed = data.only is not None or (data.site.data.layout == "csv" and not data.is_described)
    if root.is_relative_to(place):
        raise _refuse("it holds the data.", "Name a folder outside of the data with '--out'.")
    if place.is_relative_to(root) and not is_listed:
        raise _refuse("it lies inside of the data folder.", "Name a folder outside of the data with '--out'.")
    _require_own(out)


def _require_own(path: Path) -> None:
    """Refuse a folder that holds anything but predictions."""
    try:
        if path.exists() and not path.is_dir():
            raise _refuse("it is a file.", "Name a folder that does not exist yet.")
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError:
        raise DataError("PRED-WRITE", "the folder cannot be read.", "Check its permissions, or name another.") from None
    if names - {_LOCK_FILE, RECORDS_FOLDER} and ABOUT_FILE not in names:
        raise _refuse("it holds other files.", "Name a folder that does not exist yet, or is empty.")


def _refuse(why: str, fix: str) -> RunError:
    return RunError("PRED-OUT", f"the folder cannot take the predictions: {why}", fix)


def _to_json(record: CaseRecord) -> dict[str, Any]:
    return asdict(record)


def _read_record(file: Path) -> CaseRecord | None:
    """Read a record; one that is damaged, or names anything but itself and files beside it, counts as not done."""
    values = read_json(file)
    try:
        if values is None:
            return None
        result = dict(values.pop("result"))
        structures = {name: StructureResult(**_numbers(found)) for name, found in result.pop("structures").items()}
        probabilities = _numbers(result.pop("probabilities"))
        files, warnings = tuple(values.pop("files")), tuple((code, what, fix) for code, what, fix in values.pop("warnings"))
        sizes = tuple(values.pop("sizes"))
        found = CaseResult(**result, structures=structures, probabilities=probabilities)
        if found.case != file.stem or not all(map(_is_plain_name, files)):
            return None
        return CaseRecord(found, files=files, warnings=warnings, sizes=sizes, **values)
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


def _is_plain_name(name: str) -> bool:
    """Return whether a name is that of a prediction in the folder itself, so that nothing else is read or removed by it."""
    own = (ABOUT_FILE, SUMMARY_FILE, CASES_FILE, NAMES_FILE, _LOCK_FILE)
    return name == Path(name).name and name.isprintable() and name not in ("", "..", *own)


def _differing(there: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Return in words what a folder is of that is not meant now."""
    names = {name for name in {*there, *about} if there.get(name) != about.get(name)}
    return "data" if names == {"data"} else "models or options"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in values.items()}
