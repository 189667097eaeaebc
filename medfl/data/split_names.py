"""Names of splits, as indices write them."""

from __future__ import annotations

from typing import get_args

from medfl.data.cases import Split
from medfl.data.spelling import fold_name

UNLABELLED = "unlabelled"  # a case that is not to be used and not to be complained about
_SPELLINGS = {
    "train": "tr trn training trainset",
    "validation": "va val valid vali dev validate validating validierung valset",
    "test": "te ts tst testing testset",
}
_NAMES = {"": ""} | {word: name for name, words in _SPELLINGS.items() for word in words.split()}
_NAMES |= {name: name for name in get_args(Split)} | {"unlabeled": UNLABELLED, UNLABELLED: UNLABELLED}


def parse_split_name(text: str) -> str | None:
    """Return the split that a cell names, ``unlabelled``, nothing for a blank cell, and None for anything else.

    Examples
    --------
    >>> parse_split_name(" Val"), parse_split_name("tr"), parse_split_name(""), parse_split_name("holdout")
    ('validation', 'train', '', None)
    """
    return _NAMES.get(fold_name(text))


def describe_split_names() -> str:
    """Return the names of splits with all their spellings, for a message.

    Examples
    --------
    >>> describe_split_names().partition(",")[0]
    'train (also tr'
    """
    return "; ".join(f"{name} (also {', '.join(words.split())})" for name, words in _SPELLINGS.items())
