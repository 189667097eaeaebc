"""Names of splits, as indices write them."""

from __future__ import annotations

from typing import get_args

from medfl.data.cases import Split
from medfl.data.spelling import fold_name

UNLABELLED = "unlabelled"  # a case that is not to be used and not to be complained about
_NAMES = {"": "", "val": "validation", "valid": "validation", "dev": "validation", "training": "train", "testing": "test"}
_NAMES |= {name: name for name in get_args(Split)} | {"unlabeled": UNLABELLED, UNLABELLED: UNLABELLED}


def parse_split_name(text: str) -> str | None:
    """Return the split that a cell names, ``unlabelled``, nothing for a blank cell, and None for anything else.

    Examples
    --------
    >>> parse_split_name(" Val"), parse_split_name(""), parse_split_name("holdout")
    ('validation', '', None)
    """
    return _NAMES.get(fold_name(text))
