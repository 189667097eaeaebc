"""Text of a new study: its pyproject.toml with a comment at each key, and the README beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from itertools import groupby

import tomli_w

from medfl.study.key_reference import list_keys, list_tables
from medfl.study.study_file import COMPONENTS, Scalar

_WIDTH = 110
CHECK = "CHECK"  # begins the comment at a key that a person must look at
_CONFIG = "tool.flwr.app.config"
_BESIDE = {
    "server": "Read by the server alone.",
    "simulation": "For simulations alone, and in no bundle: how a data set becomes hospitals. 'medfl simulate' fills the empty "
    "keys.",
}
_MEANINGS = {"network.name": "Network; 'medfl study keys network' has all of them, and the keys of each."}
_SERVER: dict[str, Scalar] = {"server.out": "", "server.run": "", "server.resume": False, "server.enrolled": ""}

_README = """\
# {name}

{description}.

The study is `pyproject.toml`, made by `medfl study new`. It says at each key what it means and why it was chosen; comments with
`{check}` are for you to look at. `medfl study keys` explains every other key. `DATA` is the folder of the data{several}.

    medfl study check {folder} --data DATA        # is it valid, which hospitals are there
    medfl simulate {folder} --data DATA           # trains, and writes a report
    medfl simulate {folder} --data DATA --arms federated,local   # is it worth it: each hospital also trains alone
    medfl study bundle {folder}                   # for real hospitals, which read and approve it
"""


def write_study_text(
    name: str, description: str, keys: Mapping[str, Scalar], why: Mapping[str, str], doubtful: Iterable[str] = ()
) -> str:
    """Return the pyproject.toml of a study, the same for the same values.

    Parameters
    ----------
    name, description : str
        Of the project.
    keys : mapping
        Dotted keys of the study and of the table ``simulation``, but its name.
    why : mapping
        Why a key has its value, where that is said.
    doubtful : iterable of str
        Keys that are marked to be looked at.
    """
    all_keys: dict[str, Scalar] = {"name": name, **keys, **_SERVER, "simulation.data": "", "simulation.store": ""}
    meanings, order = _list_meanings(all_keys)
    tables = [table for table in list_tables() if table not in _BESIDE]
    ranked = sorted(all_keys, key=lambda key: ([*tables, "server", "simulation"].index(_table(key)), order[key]))
    parts = [_head(name, description)]
    marked = set(doubtful)
    for table, members in groupby(ranked, _table):
        block = [*_wrap(_BESIDE.get(table, "")), f"[{_CONFIG}{f'.{table}' if table else ''}]"]
        for key in members:
            meaning = "" if table == "server" or (not all_keys[key] and table in _BESIDE) else meanings[key]
            block += _comment(meaning, why.get(key, ""), is_marked=key in marked)
            block.append(tomli_w.dumps({key.rpartition(".")[2]: all_keys[key]}).strip())
        parts.append("\n".join(block))
    return "\n\n".join(parts) + "\n"


def write_readme(name: str, description: str, folder: str, *, several: bool) -> str:
    """Return the README.md beside a study. It names no folder of data: bundles hold it.

    Parameters
    ----------
    name, description : str
        Of the study.
    folder : str
        Name of its folder.
    several : bool
        Whether there are several folders with data.
    """
    more = "; write `--data` before each where there are several" if several else ""
    return _README.format(name=name, description=description, folder=folder, several=more, check=CHECK)


def _head(name: str, description: str) -> str:
    project = {"name": name, "version": "1.0.0", "description": description}
    document = {"project": project, "tool": {"flwr": {"app": {"publisher": "medfl", "components": dict(COMPONENTS)}}}}
    lead = (
        "# A study of medfl. Below each comment stands the key that it explains; 'medfl study keys TABLE' prints the others.\n"
        "# A list is a text with commas between its items.\n"
    )
    return f"{lead}{tomli_w.dumps(document)}".rstrip()


def _list_meanings(keys: Mapping[str, Scalar]) -> tuple[dict[str, str], dict[str, int]]:
    """Return what each key means, and its place: of networks, the keys of the one that is named."""
    network = keys.get("network.name", "")
    fitting = [key for key in list_keys() if key.table != "network" or key.only in ("", network)]
    known = {key.full_name: (key.meaning, place) for place, key in enumerate(fitting)}
    return {key: _MEANINGS.get(key, known[key][0]) for key in keys}, {key: known[key][1] for key in keys}


def _comment(meaning: str, why: str, *, is_marked: bool) -> list[str]:
    lines = _wrap(meaning)
    if why:
        lines += _wrap(f"{CHECK}: {why}" if is_marked else f"-> {why}")
    return lines


def _wrap(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_on_hyphens=False)]


def _table(key: str) -> str:
    return key.rpartition(".")[0]
