"""Channels of an image by name: which file, volume or selection of a site is which channel of the study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from medfl.data.cases import Source
from medfl.data.layouts.entries import Entry, Listing
from medfl.data.layouts.shown_values import is_impersonal_value
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.study import Study
from medfl.system.text import plural

# MR sequences as their names are written in files and tables; the first word of a line stands for all
_SEQUENCES_TEXT = """
t1 t1w t1n t1weighted mprage
t1ce t1c t1gd t1post t1wce t1contrast ce
t2 t2w t2weighted
flair t2flair t2f
pd pdw
t2star t2s
dwi b1000 trace
adc
swi swan
bold
asl
dce
"""
_SEQUENCES = {word: words[0] for words in map(str.split, _SEQUENCES_TEXT.strip().splitlines()) for word in words}
_SPECIAL = (("t2", "flair"), ("t1", "t1ce"))  # a name with both words means the second: T2-FLAIR
_SET_CHANNELS = 'name them in the order in which this site has them, by the study\'s names, as channels = "{}" in [data]'


def names_in_patterns(image: str) -> tuple[str, ...]:
    """Return the names that the site's key `image` gives several channels: columns, suffixes or words with commas between them.

    Patterns of files name nothing.
    """
    parts = tuple(part.strip() for part in image.split(","))
    return () if len(parts) == 1 or any(set(part) & set("{}*?[]/.") for part in parts) else parts


def arrange_channels(listing: Listing, study: Study, settings: SiteData) -> Listing:
    """Return a listing whose images have the channels of the study, in its order.

    Parameters
    ----------
    listing : Listing
        What the layout found, with the names of channels if it knows them.
    study : Study
        Names its channels, if there are several.
    settings : SiteData
        The site's `channels` go before what the layout says.

    Raises
    ------
    DataError
        ``CHANNEL-NAMES`` when the study needs several channels and it is not certain which is which.
    """
    if study.task.channel_count > 1 and not study.task.channel_names:
        what = f"the study needs {study.task.channel_count} channels and does not name them, so nobody knows which is which."
        raise DataError("CHANNEL-NAMES", what, 'Ask for a study that names them, as channels = "T1,FLAIR" in [task].')
    wanted, declared = study.task.channel_names, settings.channels or listing.channels
    if len(wanted) == 1 and not declared:
        _refuse_other_sequence(wanted[0], settings.image)
        return listing
    if not wanted:
        return listing
    order = _find_order(wanted, declared)
    return replace(listing, entries=tuple(_arrange(entry, order, len(declared)) for entry in listing.entries))


def _find_order(wanted: Sequence[str], declared: Sequence[str]) -> tuple[int, ...]:
    """Return the place at the site of each channel of the study."""
    fix = _SET_CHANNELS.format(",".join(wanted))
    if not declared:
        what = f"the study needs the channels {', '.join(wanted)}, and nothing says which of the images here is which."
        raise DataError("CHANNEL-NAMES", what, f"{fix[0].upper()}{fix[1:]}.")
    places = {name.casefold(): place for place, name in enumerate(declared)}
    missing = [name for name in wanted if name.casefold() not in places]
    if missing or len(places) < len(declared):
        what = f"the channels here are {_show_names(declared, wanted)}; the study needs {', '.join(wanted)}."
        raise DataError("CHANNEL-NAMES", what, f"If only the names differ, {fix}.")
    return tuple(places[name.casefold()] for name in wanted)


def _show_names(names: Sequence[str], wanted: Sequence[str]) -> str:
    """Return names of channels, and of those that may be anything only the number: a data set's own text is not repeated."""
    known = {name.casefold() for name in wanted}
    shown = [name for name in names if name.casefold() in known or is_impersonal_value(name) or _is_sequence(name)]
    rest = len(names) - len(shown)
    return ", ".join([*shown, *([plural(rest, "other name" if shown else "name")] if rest else [])])


def _refuse_other_sequence(wanted: str, image: str) -> None:
    """Refuse images that the site names by another MR sequence than the one that the study asks for."""
    ours, theirs = _find_sequences(wanted), _find_sequences(image)
    if ours and theirs and not ours & theirs:
        what = f"the study needs the channel {wanted}, and 'image' in site.toml names {', '.join(sorted(theirs)).upper()}."
        fix = f'Set image to the images that are meant; if they are {wanted}, set channels = "{wanted}" in [data].'
        raise DataError("CHANNEL-NAMES", what, fix)


def _is_sequence(name: str) -> bool:
    return all(word in _SEQUENCES for word in _divide(name))


def _find_sequences(text: str) -> set[str]:
    """Return the MR sequences that a text names: ``t1`` for ``*_T1w.nii.gz``."""
    found = {_SEQUENCES[word] for word in _divide(text) if word in _SEQUENCES}
    return found - {plain for plain, special in _SPECIAL if special in found}


def _divide(text: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", text.casefold()) if word]


def _arrange(entry: Entry, order: tuple[int, ...], count: int) -> Entry:
    image = entry.image
    if not isinstance(image, Source) or count == 1:
        return entry
    given = len(image.select) if image.kind == "dicom" else len(image.paths)
    if image.kind == "nifti" and given == 1:
        return replace(entry, image=replace(image, volumes=order, volume_count=count))
    if given != count:
        what = f"the image has {given} channel(s), and {count} are named."
        return replace(entry, image=DataError("IMG-CHANNELS", what, "Check the index, and 'channels' in site.toml."))
    if image.kind == "dicom":
        return replace(entry, image=replace(image, select=tuple(image.select[place] for place in order)))
    return replace(entry, image=replace(image, paths=tuple(image.paths[place] for place in order)))
