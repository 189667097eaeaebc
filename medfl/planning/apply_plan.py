"""A plan written into the text of a study, as a person would do it: only what changes is touched, comments stay."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from medfl.errors import ConfigError, Problem
from medfl.planning.plan import Plan
from medfl.study import Study, flatten, read_app_and_run_config, read_study_file, study_from_run_config
from medfl.study.network_options import DynUNet
from medfl.study.study_file import STUDY_FILE, Scalar, StudyFile

Changes = dict[str, Scalar | None]  # dotted key -> its value in the study; None removes the key


@dataclass(frozen=True)
class StudyEdit:
    """A study before and after a plan was written into it.

    Parameters
    ----------
    before, after : str
        Text of its pyproject.toml.
    changes : dict
        What differs, by dotted key: the old and the new value, None where there is none.
    """

    before: str
    after: str
    changes: dict[str, tuple[Scalar | None, Scalar | None]]

    def diff(self) -> list[str]:
        """Return the changed lines and the lines around them, as ``diff -u`` shows them."""
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), STUDY_FILE, f"{STUDY_FILE} as planned", lineterm=""
        )
        return list(lines)


def apply_plan(source: Path | StudyFile, plan: Plan) -> StudyEdit:
    """Write a plan into the text of a study; no file changes.

    Parameters
    ----------
    source : Path or StudyFile
        Folder of the study, or what was read of it.
    plan : Plan
        What to write.

    Returns
    -------
    StudyEdit
        `after` is a valid study.

    Raises
    ------
    ConfigError
        When the study is not valid, or would not be valid with the plan.
    """
    study_file = source if isinstance(source, StudyFile) else read_study_file(source)
    app, old = read_app_and_run_config(study_file)
    before = study_file.text
    planned = _planned_keys(plan, app.study, old)
    after = _edit_text(before, {key: value for key, value in planned.items() if old.get(key) != value})
    new = flatten(tomllib.loads(after)["tool"]["flwr"]["app"]["config"])
    if new != {**{k: v for k, v in old.items() if k not in planned}, **{k: v for k, v in planned.items() if v is not None}}:
        raise _unsupported_error()
    study_from_run_config(new)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return StudyEdit(before, after, {key: (old.get(key), new.get(key)) for key in changed})


def plan_to_keys(plan: Plan) -> Changes:
    """Return a plan as keys of a study."""
    keys: Changes = {"preprocessing.crop": plan.crop}
    if plan.spacing:
        keys |= {"preprocessing.spacing": ",".join(f"{step:g}" for step in plan.spacing), "preprocessing.size": None}
    if plan.intensity:
        keys |= {"preprocessing.intensity": plan.intensity}
        keys |= dict.fromkeys(("preprocessing.window", "preprocessing.mean", "preprocessing.std"))
    if plan.foreground:
        foreground = plan.foreground
        keys["preprocessing.window"] = f"{foreground.low:.1f},{foreground.high:.1f}"
        keys |= {"preprocessing.mean": round(foreground.mean, 2), "preprocessing.std": round(foreground.std, 2)}
    return keys | {
        "network.name": "dynunet",
        "network.filters": ",".join(map(str, plan.filters)),
        "network.strides": _format_levels(plan.strides),
        "network.kernels": _format_levels(plan.kernels),
        "training.patch": ",".join(map(str, plan.patch)),
        "training.batch-size": plan.batch,
    }


def _planned_keys(plan: Plan, study: Study, old: dict[str, Scalar]) -> Changes:
    keys = plan_to_keys(plan)
    known = {name.replace("_", "-") for name in DynUNet.model_fields}
    for key in old:  # the options of the network that the study had before
        table, _, name = key.partition(".")
        if table == "network" and name not in known:
            keys[key] = None
    if "preprocessing.crop" not in old and plan.crop == study.preprocessing.crop:
        del keys["preprocessing.crop"]
    return keys


def _format_levels(levels: Sequence[Sequence[int]]) -> str:
    return ", ".join("x".join(map(str, level)) for level in levels)


def _edit_text(text: str, changes: Changes) -> str:
    try:
        document = tomlkit.parse(text)
        config: Any = document["tool"]["flwr"]["app"]["config"]
        for key, value in changes.items():
            table, _, name = key.partition(".")
            if value is None:
                config.get(table, {}).pop(name, None)
                continue
            if table not in config:
                config.add(table, tomlkit.table())
            _set_key(config[table], name, value)
        return tomlkit.dumps(document)
    except (TOMLKitError, AttributeError, TypeError):
        raise _unsupported_error() from None


def _set_key(table: Any, name: str, value: Scalar) -> None:
    """Set a key of a table; a new one goes below the last key, above the blank lines and the comment before the next table."""
    after: list[Any] = []
    body = table.value.body if isinstance(table, Table) else []
    while name not in table and body and body[-1][0] is None:
        after.insert(0, body.pop())
    table[name] = value
    body.extend(after)


def _unsupported_error() -> ConfigError:
    what = "the tables of this file are written in a way that medfl cannot fill in."
    fix = "Write one table for each section, or copy the keys by hand."
    return ConfigError([Problem(STUDY_FILE, "tool.flwr.app.config", what, fix)])
