"""Records of studies as JSON, in run folders and approvals; those of earlier versions are read as well."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from medfl.study.moved_keys import follow_moved_keys
from medfl.study.run_settings import Server, Simulation
from medfl.study.study import Study
from medfl.study.study_app import StudyApp
from medfl.study.study_file import Scalar, flatten

_BESIDE = ("simulation", "server")


def app_to_json(app: StudyApp) -> dict[str, Any]:
    """Return a configuration as JSON values: the tables ``study``, ``simulation`` and ``server``."""
    return {key: getattr(app, key).model_dump(mode="json", by_alias=True) for key in ("study", *_BESIDE)}


def app_to_run_config(app: StudyApp) -> dict[str, Scalar]:
    """Return a configuration as Flower's flat run configuration, from which `app_from_run_config` reads the same one."""
    tables = app_to_json(app)
    values = flatten({**tables["study"], **{key: tables[key] for key in _BESIDE}})
    return {key: _to_scalar(value) for key, value in values.items() if value is not None}


def app_from_json(record: Mapping[str, Any]) -> StudyApp:
    """Read a configuration from a record that holds what `app_to_json` returned, and perhaps more.

    Raises
    ------
    KeyError
        When there is no study in it.
    ValidationError
        When the values are not a configuration.
    """
    study = record["study"]
    tables = {key: record[key] for key in _BESIDE if key in record}
    if isinstance(study, Mapping):
        study = follow_moved_keys(study)
        tables |= {key: study.pop(key) for key in _BESIDE if key in study}  # where earlier versions wrote them
    simulation, server = (_lists_to_tuples(tables.get(key, {})) for key in _BESIDE)
    if simulation.get("partition", "auto") == "auto":  # earlier versions took these without a word
        simulation = {key: value for key, value in simulation.items() if key not in ("column", "sites")}
    return StudyApp(
        Study.model_validate(_lists_to_tuples(study)), Simulation.model_validate(simulation), Server.model_validate(server)
    )


def study_from_json(values: Mapping[str, Any]) -> Study:
    """Read a study alone, from the table ``study`` of a record.

    Raises
    ------
    ValidationError
        When the values are not a study.
    """
    return app_from_json({"study": values}).study


def hash_recorded_study(values: Mapping[str, Any]) -> str:
    """Return `Study.approved_hash` as it was when the record was written, whatever keys later versions have.

    Parameters
    ----------
    values : mapping
        Table ``study`` of a record.
    """
    return hashlib.sha256(json.dumps(_to_field_names(values), sort_keys=True).encode()).hexdigest()


def _to_field_names(value: Any) -> Any:
    """Spell the keys of tables as the fields of `Study` are."""
    if isinstance(value, Mapping):
        return {str(key).replace("-", "_"): _to_field_names(item) for key, item in value.items()}
    return [_to_field_names(item) for item in value] if isinstance(value, list) else value


def _to_scalar(value: Any) -> Scalar:
    """Write a list as text: a comma between its items, an x between the numbers of one that is a list itself."""
    if not isinstance(value, list):
        return value  # type: ignore[no-any-return]
    return ",".join("x".join(map(str, item)) if isinstance(item, list) else str(item) for item in value)


def _lists_to_tuples(value: Any) -> Any:
    """Turn JSON's lists back into tuples, which the sections require."""
    if isinstance(value, dict):
        return {key: _lists_to_tuples(item) for key, item in value.items()}
    return tuple(_lists_to_tuples(item) for item in value) if isinstance(value, list) else value
