"""Channels of an image by name: which file, volume or selection of a site is which channel of the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medfl.data.cases import Source
from medfl.data.layouts.entries import Entry, Listing
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.study import Study

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
    if not wanted or (len(wanted) == 1 and not declared):
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
        what = f"the channels here are {', '.join(declared)}; the study needs {', '.join(wanted)}."
        raise DataError("CHANNEL-NAMES", what, f"If only the names differ, {fix}.")
    return tuple(places[name.casefold()] for name in wanted)


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
