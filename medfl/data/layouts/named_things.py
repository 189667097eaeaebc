"""What the name of a mask says that it shows, and whether that is what the classes of a study are called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from medfl.data.layouts.neutral_words import NEUTRAL
from medfl.data.layouts.structure_words import KINDS, LEVELS, NEGATIONS, PARTS, SIDES, THINGS

_WORD = re.compile(r"[A-Z]{2,}[a-z]?(?![a-z])|[A-Z](?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+|\d+")  # GTVp is one word
_LETTERS = str.maketrans({"ß": "ss", "ẞ": "SS", "œ": "oe", "Œ": "Oe", "æ": "ae", "Æ": "Ae"})  # no accents in Unicode
_ENDINGS = ("", "s", "es", "e", "n", "en")  # of plurals
_LINKS = ("", "s", "n", "en", "er")  # between the parts of a German word: Niere-n-zyste
_SHORTEST_PART = 3  # letters of a word within another
_LONGEST_PHRASE = 4  # words
_SURE: frozenset[str] = frozenset()
# why a mask is told although it is used
UNKNOWN, SIDE = "have words that medfl does not know", "say one side only"
WIDTH, WHOLE = "use a wider or narrower word", "say a whole and not its parts"
MISSING, FOREIGN = "lack a word of a class", "cannot be compared to those of the classes"


@dataclass(frozen=True)
class NamedThings:
    """What a name says.

    Parameters
    ----------
    things : frozenset of str
        Known things, by the words that stand for them, and negations.
    own : frozenset of str
        Words of the names of classes that are not known otherwise.
    sides : frozenset of str
        ``left`` and ``right``.
    unknown : frozenset of str
        Other words.
    """

    things: frozenset[str]
    own: frozenset[str]
    sides: frozenset[str]
    unknown: frozenset[str]

    @property
    def core(self) -> frozenset[str]:
        """What is meant: a finding and not the organ that it lies in, a part of a tumour and not the tumour."""
        top = max((LEVELS[thing] for thing in self.things - NEGATIONS), default=0)
        return frozenset(thing for thing in self.things if thing in NEGATIONS or LEVELS[thing] == top)


def name_words(text: str) -> list[str]:
    """Return the words of a name in lower case and without accents, divided at signs, capitals and digits.

    Examples
    --------
    >>> name_words("desc-whiteMatter_T1w"), name_words("Läsion_GTVp"), name_words("Gefäß_Œdème")
    (['desc', 'white', 'matter', 't', '1', 'w'], ['lasion', 'gtvp'], ['gefass', 'oedeme'])
    """
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text.translate(_LETTERS)) if not unicodedata.combining(sign))
    return [word.casefold() for word in _WORD.findall(bare)]


@lru_cache(maxsize=4096)
def read_things(words: tuple[str, ...], own: frozenset[str] = frozenset()) -> NamedThings:
    """Return what the words of a name say, the longest phrases first."""
    things, found, sides, unknown = (set[str]() for _ in range(4))
    words = tuple(part for word in words for part in _split_word(word, own) or (word,))
    at = 0
    while at < len(words):
        thing, length = _find_phrase(words[at:])
        word, number = words[at], words[at + 1 : at + 2] and words[at + 1].isdigit()
        if thing:
            things.add(thing)
        elif mine := _find_own(word, own):
            found.add(mine)
            length = 1
        elif length:  # neutral
            pass
        elif word in SIDES and not (number and len(word) == 1):
            sides.add(SIDES[word])
        elif word in NEGATIONS and not number:  # no_2 is a number
            things.add(word)
        elif len(word) > 1 and not word.isdigit() and word not in NEGATIONS:
            unknown.add(word)
        at += max(length, 1)
    return NamedThings(*map(frozenset, (things, found, sides, unknown)))


class ClassNames:
    """Names of the classes that the masks of a study show, each with what it is also called.

    Parameters
    ----------
    classes : sequence of set of str
        Names of each class but the background.
    """

    def __init__(self, classes: Sequence[set[str]]) -> None:
        texts = [[tuple(name_words(name)) for name in sorted(names)] for names in classes]
        self._own = frozenset(word for names in texts for words in names for word in _own_words(words))
        self._classes = [[read_things(words, self._own) for words in names] for names in texts]
        every = [name for names in self._classes for name in names]
        self._things = frozenset[str]().union(*(name.things for name in every))
        self._sides = frozenset[str]().union(*(name.sides for name in every))

    def judge(self, words: Sequence[str]) -> frozenset[str] | None:
        """Return why a mask whose name has these words is to be told; None if it shows something else than the classes."""
        mask = read_things(tuple(words), self._own)
        notes = {UNKNOWN} if mask.unknown else set()
        if mask.sides and mask.sides != self._sides:
            if self._sides:
                return None
            notes |= {SIDE} if len(mask.sides) == 1 else set()
        if mask.things <= NEGATIONS and not mask.own:
            return frozenset(notes | ({UNKNOWN} if mask.things else set()))
        fit = self._fit(mask)
        return None if fit is None else fit | notes

    def _fit(self, mask: NamedThings) -> frozenset[str] | None:
        """Return what is to be told of the things that a name says; None where they are not the classes."""
        of_classes = [_name_class(names, mask) for names in self._classes]
        hits = [any(name.own & mask.own for name in names) for names in self._classes if any(name.own for name in names)]
        if len(self._classes) > 1 and any(hits) and not all(hits):  # one of several
            return None
        named = [notes for notes in of_classes if notes is not None]
        if len(named) == len(of_classes):
            rest = self._fit_rest(mask)
            return None if rest is None else rest.union(*named)
        if not self._things and not mask.own:
            return frozenset({FOREIGN})
        return frozenset({WHOLE}) if len(self._classes) > 1 and self._is_whole(mask) else None

    def _fit_rest(self, mask: NamedThings) -> frozenset[str] | None:
        """Return what is to be told of the things that a name has beside those of the classes; None where one is another."""
        if not self._things:
            return frozenset({FOREIGN} if mask.things else ())
        notes = set()
        cores = [thing for names in self._classes for name in names for thing in name.core - NEGATIONS]
        top = max((LEVELS[thing] for thing in cores), default=0)
        for thing in mask.things - self._things:
            if thing in NEGATIONS:
                return None
            alike = {other for other in self._things - NEGATIONS if LEVELS[other] == LEVELS[thing]}
            kin = {other for other in self._things if _are_kin(thing, other)}
            if any(thing in KINDS.get(other, ()) for other in kin - {"lesion"}):  # a narrower word beside that of the class
                notes.add(WIDTH)
            elif not (kin or PARTS.get(thing, _SURE) & alike or not LEVELS[thing] or (not alike and LEVELS[thing] < top)):
                return None
        return frozenset(notes)

    def _is_whole(self, mask: NamedThings) -> bool:
        """Return whether a name says one thing of which all classes are parts, or lie in it."""
        if len(mask.core) != 1 or mask.own:
            return False
        (whole,) = mask.core
        parts = PARTS.get(whole, _SURE) | {whole}

        def lies_in(name: NamedThings) -> bool:
            others = any(LEVELS[thing] <= LEVELS[whole] for thing in name.things - NEGATIONS)
            return bool(name.things & parts) or (bool(name.things) and not others)

        return all(any(map(lies_in, names)) for names in self._classes) and bool(self._things & parts)


def _own_words(words: tuple[str, ...]) -> frozenset[str]:
    """Return the words of a class that are known from nowhere else; all where nothing else says what it is."""
    name = read_things(words)
    return name.unknown if name.things or name.sides or name.unknown else frozenset(words)


def _name_class(names: Sequence[NamedThings], mask: NamedThings) -> frozenset[str] | None:
    """Return what is to be told where a name says a class by one of its names; None where it says none of them."""
    found = [notes for notes in (_name_by(name, mask) for name in names) if notes is not None]
    return min(found, key=len, default=None)


def _name_by(name: NamedThings, mask: NamedThings) -> frozenset[str] | None:
    if not name.core:
        return (frozenset({MISSING}) if name.own - mask.own else _SURE) if name.own & mask.own else None
    wide = {thing for thing in name.core - mask.things if any(_are_kin(thing, other) for other in mask.things)}
    if not name.core <= mask.things | wide:
        return None
    return frozenset([*([WIDTH] if wide else []), *([MISSING] if name.own - mask.own else [])])


def _are_kin(one: str, other: str) -> bool:
    """Return whether one thing is a kind of the other."""
    return one in KINDS.get(other, ()) or other in KINDS.get(one, ())


def _find_phrase(words: tuple[str, ...]) -> tuple[str | None, int]:
    """Return the thing that words begin with and its number of words; no thing for a neutral phrase, 0 for an unknown word."""
    for length in range(min(_LONGEST_PHRASE, len(words)), 0, -1):
        phrase = words[:length]
        if phrase in NEUTRAL:
            return None, length
        for stem in _stems(phrase[-1]):
            if thing := THINGS.get((*phrase[:-1], stem)):
                return thing, length
    return None, 0


def _find_own(word: str, own: frozenset[str]) -> str | None:
    return next((mine for mine in sorted(own) if not set(_stems(word)).isdisjoint(_stems(mine))), None)


def _stems(word: str) -> list[str]:
    """Return a word without what may be the ending of a plural."""
    stems = [word.removesuffix(ending) for ending in _ENDINGS if word.endswith(ending)]
    return [stem for stem in stems if stem == word or len(stem) >= _SHORTEST_PART]


@lru_cache(maxsize=4096)
def _split_word(word: str, own: frozenset[str]) -> tuple[str, ...]:
    """Return the known words that a word consists of, as `lesionmask` or `Lebertumor`; nothing where it has other parts."""
    if not word or _is_known(word, own):
        return (word,) if word else ()
    for end in range(len(word) - _SHORTEST_PART, _SHORTEST_PART - 1, -1):
        if _is_known(word[:end], own):
            for link in _LINKS:
                rest = _split_word(word[end:].removeprefix(link), own) if word[end:].startswith(link) else ()
                if rest:
                    return (word[:end], *rest)
    return ()


def _is_known(word: str, own: frozenset[str]) -> bool:
    return _find_phrase((word,))[1] > 0 or _find_own(word, own) is not None or word in SIDES or word in NEGATIONS
