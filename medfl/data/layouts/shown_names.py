"""Names of files and folders that may be shown on a screen: usual words for data, and nothing that could point to a person."""

from __future__ import annotations

import re

from medfl.data.layouts.shown_values import is_impersonal_value

# words of which a name may consist to be repeated: none is a name of anybody
_WORDS_TEXT = """
    index table tables list dataset data set metadata meta info clinical demographics cohort study studies registry
    patient patients patienten subject subjects participant participants teilnehmer case cases faelle fälle image images
    img imgs picture pictures bild bilder scan scans xray xrays series label labels class classes diagnosis diagnose
    diagnosen diagnoses annotation annotations split splits train tr training trainset test ts testing testset val valid
    validation final fold folds mask masks maske masken masque masques seg segs gt groundtruth ground truth segmentation
    segmentations segmentierung segmentierungen liste tabelle id ids key mapping map manifest results all new v
"""
_WORDS = frozenset(_WORDS_TEXT.split())
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER, _MAX_DIGITS = re.compile(r"\d+"), 2


def is_usual_name(name: str) -> bool:
    """Return whether a name consists of usual words and at most one number of two digits: more may be a date or an id.

    Examples
    --------
    >>> is_usual_name("Bilderliste_2"), is_usual_name("imagesTr"), is_usual_name("Mueller"), is_usual_name("scan_1961-03-02")
    (True, True, False, False)
    """
    words, numbers = _WORD.findall(name.casefold()), _NUMBER.findall(name)
    return bool(words) and all(map(_is_usual_word, words)) and len(numbers) <= 1 and all(len(n) <= _MAX_DIGITS for n in numbers)


def is_shown_folder(name: str) -> bool:
    """Return whether a folder can hardly be called after a person or a day: by usual words, or in small letters without digits.

    Examples
    --------
    >>> is_shown_folder("benign"), is_shown_folder("imagesTr"), is_shown_folder("Mueller_scans"), is_shown_folder("P001")
    (True, True, False, False)
    """
    return is_usual_name(name) or (is_impersonal_value(name) and not any(map(str.isdigit, name)))


def _is_usual_word(word: str) -> bool:
    """Return whether a word is one of those that may be repeated, or two of them in one, as `Bilderliste`."""
    return word in _WORDS or any(word[:end] in _WORDS and word[end:] in _WORDS for end in range(2, len(word) - 1))
