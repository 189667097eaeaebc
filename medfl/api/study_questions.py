"""What a new study needs to know and the data does not say: asked of a person, or assumed and said."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from medfl.data.layouts.columns import has_column
from medfl.data.layouts.index_roles import IndexRoles
from medfl.errors import ConfigError, Problem
from medfl.errors.validation import did_you_mean
from medfl.study.task import Kind, Modality
from medfl.system.text import join_words

COMMAND = "medfl study new"
WHOLE = "one"  # in place of a column: the data set is one hospital
_PARTS = 3  # hospitals of a data set that names none
_MODALITIES: dict[str, Modality] = {
    **dict.fromkeys(("ct",), "CT"),
    **dict.fromkeys(("mr", "mri", "mrt"), "MR"),
    **dict.fromkeys(("xray", "xrays", "cxr", "radiograph", "radiographs", "radiography", "roentgen"), "XR"),
    **dict.fromkeys(("us", "ultrasound", "sono", "sonography", "ultraschall"), "US"),
}


@dataclass(frozen=True)
class Question:
    """A question about a new study.

    Parameters
    ----------
    text : str
        The question.
    choices : tuple of str
        Possible answers; empty: any.
    default : str
        What is assumed unless somebody answers; empty: nothing can be.
    """

    text: str
    choices: tuple[str, ...]
    default: str


Ask = Callable[[Question], str]


@dataclass(frozen=True)
class Wishes:
    """What is known of a new study before its data is looked at; what is empty is found out.

    Parameters
    ----------
    task : str
        ``"segmentation"`` or ``"classification"``.
    modality : str
        As in a study.
    label : str
        Column or pattern of the index that gives the masks or classes.
    hospitals : str
        Column of the index that names the hospitals; a number of hospitals that patients are divided among at random; or
        ``"one"``.
    """

    task: Kind | None = None
    modality: Modality | None = None
    label: str = ""
    hospitals: str = ""


def choose_label(roles: Sequence[IndexRoles], wishes: Wishes, ask: Ask | None) -> str:
    """Return the column or pattern of the label that all tables have.

    Raises
    ------
    ConfigError
        When there is no such column, or several could be meant and nobody can be asked.
    """
    masks = [name for name in roles[0].masks if all(name in each.masks for each in roles)]
    classes = [name for name in roles[0].classes if all(has_column(each.table.columns, name) for each in roles)]
    options = (*(masks if wishes.task != "classification" else ()), *(classes if wishes.task != "segmentation" else ()))
    if wishes.label:
        known = "{" in wishes.label or all(has_column(each.table.columns, wishes.label) for each in roles)
        if not known:
            raise _label_error(f"the index has no column {wishes.label!r}.", options, wishes.label)
        return wishes.label
    if len(options) <= 1:
        return options[0] if options else "label"  # reading it says what is missing
    default = options[0] if options[0] in masks or options[0].casefold() == "label" else ""
    if ask is not None:
        return ask(Question("Which column or pattern of the index is the label?", options, default))
    if not default:
        raise _label_error("several columns of the index could be the label.", options)
    return default


def _label_error(what: str, options: Sequence[str], came: str = "") -> ConfigError:
    could = f"Could be: {join_words(options)}." if options else "None looks like a label."
    return ConfigError([Problem(COMMAND, "--label", what, f"{did_you_mean(came, options)} {could}".strip() if came else could)])


def choose_modality(folders: Sequence[Path], guess: Modality, ask: Ask | None) -> tuple[Modality, str]:
    """Return the modality of images whose files do not tell it, and what it was assumed from; empty where a person said it.

    Parameters
    ----------
    folders : sequence of Path
        Folders of the data, whose names may speak of it.
    guess : str
        What is assumed where they do not.
    ask : callable, optional
        Asks a person.
    """
    words = [word for folder in folders for word in re.split("[^a-z]+", folder.name.lower().replace("x-ray", "xray"))]
    named = next((_MODALITIES[word] for word in words if word in _MODALITIES), None)
    if ask is not None:
        answer = ask(Question("The files do not tell the modality. Which is it?", get_args(Modality), named or guess))
        return next(each for each in get_args(Modality) if each == answer), ""
    if named:
        return named, f"The files do not tell the modality; {named} was assumed from the name of the folder."
    return guess, f"The files do not tell the modality; {guess} was assumed."


def choose_hospitals(roles: Sequence[IndexRoles], folders: int, patients: int, wishes: Wishes, ask: Ask | None) -> str:
    """Return how data without a ``site.toml`` becomes hospitals: a column, a number of parts, or ``"one"`` for each folder.

    Parameters
    ----------
    roles : sequence of IndexRoles
        Of the tables; empty where there is none.
    folders : int
        Number of folders.
    patients : int
        Patients, or images where those are not known.
    wishes, ask
        As in `choose_label`.

    Raises
    ------
    ConfigError
        When the wish is no column and no number.
    """
    columns = [name for each in roles for name in each.hospitals if all(has_column(r.table.columns, name) for r in roles)]
    columns = list(dict.fromkeys(columns)) if len(roles) == folders else []
    parts = str(min(_PARTS, patients)) if patients > 1 else WHOLE
    default = next((name for name in columns if name != wishes.label), WHOLE if folders > 1 else parts)
    answer = wishes.hospitals
    if not answer and ask is not None:
        named = f"a column ({join_words(columns)}), " if columns else ""
        text = f"How does the data become hospitals: {named}a number of random parts, or '{WHOLE}' for one a folder?"
        answer = ask(Question(text, (), default))
    answer = (answer or default).strip()
    is_number = answer.isdecimal() and 2 <= int(answer) <= max(patients, 2)
    is_column = bool(roles) and all(has_column(each.table.columns, answer) for each in roles)
    if answer != WHOLE and not is_number and not is_column:
        what = f"came {answer!r}, which is no column of the index and no number of hospitals from 2 to {max(patients, 2)}."
        raise ConfigError([Problem(COMMAND, "--hospitals", what, f"Write '{WHOLE}' for one hospital a folder.")])
    return answer
