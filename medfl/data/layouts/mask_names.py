"""Names of mask files: a mask is not that of the study's class because it is the only one that lies there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.layouts.entries import Listing
from medfl.data.layouts.structure_words import NEUTRAL, SIDES, STRUCTURES
from medfl.errors import DataError
from medfl.site import Site, SiteData
from medfl.study import Study
from medfl.system.text import plural

_BIDS_ENTITIES = ("desc", "label", "roi", "seg", "atlas")  # entities of BIDS that say what a mask shows
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+|\d+")
_ENDINGS = ("", "s", "es", "e", "n", "en")  # of plurals
_LINKS = ("", "s", "n", "en", "er")  # between the parts of a German word: Niere-n-zyste
_INITIALS = 3  # letters of which a word may be somebody's initials
_SHORTEST_PART = 3  # letters of a word within another


def check_mask_names(listing: Listing, site: Site, study: Study, layout: str) -> Listing:
    """Return a listing without the masks whose names say that they show something else than the study's classes.

    Only where a layout finds masks by itself, `label` in site.toml names none, and nothing says what their values mean. A name
    whose words are neither known things nor known to say nothing is used, with a warning.

    Parameters
    ----------
    listing : Listing
        What the layout found.
    site, study : Site, Study
        Name the classes.
    layout : str
        Name of the layout.

    Returns
    -------
    Listing
        With ``LBL-NAME`` in place of such masks, or as a warning.
    """
    if layout not in ("bids", "folders") or study.task.kind != "segmentation" or site.data.label != SiteData().label:
        return listing
    reader = _MaskNames(_names_of_classes(site, study))
    entries, unclear = [], 0
    for entry in listing.entries:
        mask = entry.label
        if isinstance(mask, Source) and mask.kind != "dicom" and not mask.names:
            words = _bids_words(mask.paths[0]) if layout == "bids" else _file_words(mask.paths[0], site.root)
            if not reader.fits(words):
                entry = replace(entry, label=_other_name_error(), label_files=mask.paths)
            elif reader.has_unknown(words):
                unclear += 1
        entries.append(entry)
    warnings = (*listing.warnings, *([_unclear_warning(unclear, study)] if unclear else []))
    return replace(listing, entries=tuple(entries), warnings=warnings)


def name_words(text: str) -> list[str]:
    """Return the words of a name in lower case and without accents, divided at signs, capitals and digits.

    Examples
    --------
    >>> name_words("desc-whiteMatter_T1w"), name_words("Läsion")
    (['desc', 'white', 'matter', 't', '1', 'w'], ['lasion'])
    """
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return [word.casefold() for word in _WORD.findall(bare)]


def _names_of_classes(site: Site, study: Study) -> list[set[str]]:
    """Return what each foreground class of the study is called there and here."""
    classes = [{name} for name in study.task.foreground]
    for names, local in zip(classes, site.classes[1:], strict=False):
        names.add(local)
    for local, name in site.data.label_names:
        if name in study.task.foreground:
            classes[study.task.foreground.index(name)].add(local)
    return classes


class _MaskNames:
    """Reader of names of masks, which knows the words of the classes that are meant."""

    def __init__(self, classes: Sequence[set[str]]) -> None:
        texts = {name: name_words(name) for names in classes for name in names}
        self._own = frozenset(word for words in texts.values() for word in words if _tells(word) and word not in STRUCTURES)
        self._classes = [{self._join(texts[name]) or "".join(texts[name]) for name in names} for names in classes]
        self._sides = {SIDES[word] for words in texts.values() for word in words if word in SIDES}

    def fits(self, words: Sequence[str]) -> bool:
        """Return whether words name all the classes, or nothing that is known."""
        sides = {SIDES[word] for word in words if word in SIDES}
        if sides and self._sides and not sides & self._sides:
            return False
        text = self._join(words)
        return not text or _names_all(text, self._classes)

    def has_unknown(self, words: Iterable[str]) -> bool:
        """Return whether a word says something that is not understood."""
        return any(len(part) > _INITIALS and self._thing(part) is None and _tells(part) for part in self._parts(words))

    def _join(self, words: Iterable[str]) -> str:
        """Return the things that words name, without anything between them."""
        return "".join(filter(None, map(self._thing, self._parts(words))))

    def _parts(self, words: Iterable[str]) -> Iterator[str]:
        for word in words:
            yield from _split_word(word, self._own) or (word,)

    def _thing(self, word: str) -> str | None:
        return _find_thing(word, self._own)


@lru_cache(maxsize=4096)
def _find_thing(word: str, own: frozenset[str]) -> str | None:
    """Return the word that stands for a thing, in whatever number; None for one that names none that is known."""
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if word.endswith(ending) and (stem in own or stem in STRUCTURES):
            return stem if stem in own else STRUCTURES[stem]
    return None


@lru_cache(maxsize=4096)
def _split_word(word: str, own: frozenset[str]) -> tuple[str, ...]:
    """Return the known words that a word consists of, as `lesionmask` or `Lebertumor`; nothing where it has other parts."""
    if not word or word in NEUTRAL or _find_thing(word, own) is not None:
        return (word,) if word else ()
    for end in range(len(word) - _SHORTEST_PART, _SHORTEST_PART - 1, -1):
        first = word[:end]
        if first in NEUTRAL or _find_thing(first, own) is not None:
            for link in _LINKS:
                rest = _split_word(word[end:].removeprefix(link), own) if word[end:].startswith(link) else ()
                if rest:
                    return (first, *rest)
    return ()


def _names_all(text: str, classes: Sequence[set[str]]) -> bool:
    if not text:
        return not classes
    return any(
        _names_all(text.removeprefix(name), [*classes[:k], *classes[k + 1 :]])
        for k, names in enumerate(classes)
        for name in names
        if name and text.startswith(name)
    )


def _tells(word: str) -> bool:
    return len(word) > 1 and not word.isdigit() and word not in NEUTRAL


def _bids_words(path: Path) -> list[str]:
    entities = (part.partition("-") for part in path.name.split(".")[0].split("_"))
    return [word for key, _, value in entities if key in _BIDS_ENTITIES for word in name_words(value)]


def _file_words(path: Path, root: Path) -> list[str]:
    """Return the words of a file's name, and of folders below its patient's, without the name of the patient's."""
    patient, *inner = path.relative_to(root).parts
    name = name_words(patient)
    others = {word for word in name if word not in STRUCTURES}
    return [word for part in inner for word in _without(name_words(part), name) if word not in others]


def _without(words: list[str], name: Sequence[str]) -> list[str]:
    """Return words without those of a name where they stand in its order: `brain` of `brain_7` alone is no patient's name."""
    for start in range(len(words) - len(name) + 1):
        if name and words[start : start + len(name)] == [*name]:
            return words[:start] + _without(words[start + len(name) :], name)
    return words


def _unclear_warning(count: int, study: Study) -> Finding:
    what = (
        f"the only masks of {plural(count, 'case')} have words in their names that medfl does not know, and are used as "
        f"{' and '.join(study.task.foreground)}."
    )
    fix = "If they show something else, name the files that are meant by 'label' in site.toml, as label = \"*_mask.nii.gz\"."
    return Finding.warning("LBL-NAME", what, fix)


def _other_name_error() -> DataError:
    return DataError(
        "LBL-NAME",
        "the only mask is named for something else than what the study asks for.",
        "If it is the right one, name its files by 'label' in site.toml, for example label = \"*_mask.nii.gz\"; "
        "if its name is what this site calls a class, set label-names.",
    )
