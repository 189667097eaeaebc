"""Groups of patients by a column of the index, such as sex or age band, by pseudonym: of simulated hospitals alone.

The index is read where the simulation runs. What comes out are pseudonyms and values of columns that the study names; ids,
and columns that it does not name, stay inside.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from medfl.data.layouts.csv import index_name, is_csv
from medfl.data.layouts.row_conditions import filter_rows
from medfl.data.layouts.table import fill_pattern, get_column, read_table
from medfl.data.pseudonyms import patient_pseudonym
from medfl.errors import ConfigError, Problem
from medfl.site import Site

MAX_VALUES = 12  # of a column; more are no groups, or may even tell who a patient is
MIXED, NOT_KNOWN = "several", "not known"
_KEY = "simulation.subgroups"
_AGE = "age"
_AGE_BANDS = ((18, "under 18"), (40, "18 to 39"), (65, "40 to 64"))
_MAX_AGE = 130  # years; what is beyond stands for an unknown age, such as 999
_AGE_STRING = re.compile(
    r"(\d{1,3})([DWMY])", re.IGNORECASE
)  # DICOM PS3.5, 6.2, value representation AS, also without its zeros
_UNITS_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12, "Y": 1}

Groups = dict[str, dict[tuple[str, str], str]]  # value by site and pseudonym, by column


def read_patient_groups(sites: Sequence[Site], columns: Sequence[str]) -> Groups:
    """Return the value of each patient in some columns.

    Parameters
    ----------
    sites : sequence of Site
        Simulated hospitals whose data is listed in a CSV index.
    columns : sequence of str
        Columns of it. In one that is called ``age``, numbers of years and DICOM's ages (``045Y``, ``018M``) become bands: under
        18, 18 to 39, 40 to 64, 65 and over; a number that is no age of a person is no value.

    Returns
    -------
    dict of str to dict
        By column: the value by site and pseudonym; "several" for a patient whose images differ, "not known" without a value.

    Raises
    ------
    ConfigError
        When a hospital has no such index or no column of patients, or a column holds too many values to be groups.
    DataError
        ``INDEX-*`` when the index cannot be read or lacks a column.
    """
    groups: Groups = {column: {} for column in columns}
    for site in sites if columns else ():
        if not site.data.patient or not is_csv(site):
            what = f"{site.name!r} has no CSV index with a column of patients."
            raise ConfigError([Problem("pyproject.toml", _KEY, what, "Leave the key out.")])
        _read_site(site, groups)
    for column, values in groups.items():
        if len(found := set(values.values()) - {MIXED, NOT_KNOWN}) > MAX_VALUES:
            what = f"the column {column!r} holds {len(found)} different values, which are no groups; at most {MAX_VALUES} are."
            raise ConfigError([Problem("pyproject.toml", _KEY, what, "Name a column with few values, or one of ages, 'age'.")])
    return groups


def _read_site(site: Site, groups: Groups) -> None:
    data, secret = site.data, site.secret()
    table = filter_rows(read_table(site.root / index_name(site), data.patient, data.label, data.image), data.where)
    persons = fill_pattern(table, data.patient, what="patient")
    for column, values in groups.items():
        told: dict[str, set[str]] = defaultdict(set)
        for person, cell in zip(persons, get_column(table, column), strict=True):
            told[person] |= {value} if (value := _group_of(column, cell)) else set()
        for person, of_one in told.items():
            value = MIXED if len(of_one) > 1 else next(iter(of_one), NOT_KNOWN)
            values[site.name, patient_pseudonym(secret, site.name, person)] = value


def _group_of(column: str, cell: str) -> str:
    """Return the value of a cell, of an age its band; nothing where there is none."""
    text = cell.strip()
    if column.casefold() != _AGE:
        return text
    try:
        age = _parse_age(text)
    except ValueError:
        return text
    if not 0 <= age <= _MAX_AGE:  # nor is NaN
        return ""
    return next((band for limit, band in _AGE_BANDS if age < limit), "65 and over")


def _parse_age(text: str) -> float:
    """Return an age in years."""
    if match := _AGE_STRING.fullmatch(text):
        return int(match[1]) / _UNITS_A_YEAR[match[2].upper()]
    return float(text.replace(",", "."))
