"""Selection of the images that are meant: by what the study and the site say of their headers, not by the modality alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from medfl.data.cases import Source
from medfl.data.dicom.shown import FOR_PROCESSING, is_localizer, shown_values
from medfl.data.findings import Finding
from medfl.data.index.file_facts import IndexedFile
from medfl.data.layouts.dicom_objects import DicomObjects
from medfl.data.layouts.entries import Listing
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study
from medfl.study.image_conditions import ImageCondition, parse_conditions

_INTENT, _TYPE = "PresentationIntentType", "ImageType"
_IMAGE_KEYWORDS = ("ViewPosition", "Laterality", _TYPE)  # images of one series may differ in these, and in no other
_SCOUT = "localizer"
# the condition that asks for images which none means by default, by the reason why they are set aside
_ASKED_BY = {FOR_PROCESSING: f"{_INTENT}={FOR_PROCESSING}", _SCOUT: f"{_TYPE}=LOCALIZER"}
_EXPORT_INSTEAD = {
    _ASKED_BY[FOR_PROCESSING]: "Export the images FOR PRESENTATION, too: other hospitals will have these.",
    _ASKED_BY[_SCOUT]: "Export the images that the localizers were made for.",
}
_NO_HEADER = "without a DICOM header"


@dataclass
class ImageSelection:
    """Selects the images of a data folder that are meant, and counts the others.

    Images FOR PROCESSING, and localizers, are meant only where a condition names them.

    Parameters
    ----------
    conditions : tuple of ImageCondition
        What the study and the site say.
    use_missing : bool
        Whether an image without an attribute that is named is meant nevertheless.
    separately : bool
        Whether each image is a case of its own, whatever its series.
    """

    conditions: tuple[ImageCondition, ...]
    use_missing: bool = False
    separately: bool = False
    _reasons: dict[str, str] = field(default_factory=dict)  # why an image is not meant, by path; empty if it is
    _found: dict[ImageCondition, Counter[str]] = field(default_factory=dict)  # images with each value that is meant

    @classmethod
    def of(cls, site: Site, study: Study) -> ImageSelection:
        """Return the selection that a study and a site ask for."""
        conditions = dict.fromkeys((*parse_conditions(study.task.select), *parse_conditions(site.data.select)))
        separately = study.task.kind == "classification" and study.task.dimension == 2
        return cls(tuple(conditions), site.data.select_missing == "use", separately)

    def narrow(self, found: DicomObjects) -> None:
        """Take the images that are not meant from the series of a folder."""
        self.restore_localizers(found)
        for key, items in list(found.series.items()):
            kept, doubtful = self.pick(items)
            found.not_meant += len(items) - len(kept)
            meant = {item.text("SOPInstanceUID") for item in kept}
            found.other_images |= {item.text("SOPInstanceUID") for item in items} - meant
            if kept:
                found.series[key] = kept
                found.faults[key]["selection"] += doubtful
            else:
                del found.series[key]
                found.faults.pop(key, None)

    def restore_localizers(self, found: DicomObjects) -> None:
        """Return localizers to the series of a folder if they are meant."""
        if any(map(_names_localizers, self.conditions)):
            for key in [key for key, items in found.set_aside.items() if all(is_localizer(item.header) for item in items)]:
                found.series[key] = found.set_aside.pop(key)

    def pick(
        self, items: Sequence[IndexedFile], own: Sequence[ImageCondition] = (), *, named: bool = False
    ) -> tuple[list[IndexedFile], int]:
        """Return the images of one series that are meant, and how many of them are in doubt.

        The images of a series share what its description says (PS3.3 C.7.3.1): where only some have what is meant, the others
        may be slices whose header is damaged, so they stay and are in doubt.

        Parameters
        ----------
        items : sequence of IndexedFile
            The images.
        own : sequence of ImageCondition
            Further conditions, of the row of an index.
        named : bool
            Whether the index names the series or the object itself, so that it is meant whatever kind of image it is.
        """
        judged = [(item, self._judge(item, own, named=named)) for item in items]
        some = any(not reason for _, reason in judged) and not self.separately
        kept, doubtful = [], 0
        for item, reason in judged:
            doubt = some and bool(reason) and not _may_differ(reason)
            doubtful += doubt
            if doubt or not reason:
                kept.append(item)
                self._reasons[item.path_text] = ""
            else:
                self._reasons.setdefault(item.path_text, reason)  # one row may mean what another does not
        return kept, doubtful

    def finish(self, listing: Listing) -> Listing:
        """Return a listing without the images that are not meant, and with what is to be said about them.

        Raises
        ------
        DataError
            ``IMG-SELECT`` when no image fulfils a condition, or none fulfils all.
        """
        entries = []
        for entry in listing.entries:
            image = entry.image
            keep = self._keeps(image) if isinstance(image, Source) else image.code != "IMG-SELECT"
            if keep:
                entries.append(entry)
        self._require_fulfilled(any(isinstance(entry.image, Source) for entry in entries))
        left_out = frozenset(path for path, reason in self._reasons.items() if reason)
        return replace(listing, entries=tuple(entries), warnings=(*listing.warnings, *self._warnings()), not_meant=left_out)

    def _keeps(self, image: Source) -> bool:
        if image.files and image.kind == "dicom":  # its layout has picked it
            return all(not self._reasons.get(item.path_text, "") for item in image.files)
        if not self.conditions or self.use_missing:
            return True
        self._reasons |= {str(path): _NO_HEADER for path in image.paths}
        return False

    def _judge(self, item: IndexedFile, own: Sequence[ImageCondition], *, named: bool) -> str:
        """Return why an image is not meant; empty when it is."""
        header, reasons = item.header, []
        conditions = (*self.conditions, *own)
        for condition in conditions:
            values = shown_values(header, condition.keyword)
            if condition.matches(values) or (not values and self.use_missing):
                self._found.setdefault(condition, Counter()).update(
                    value for value in condition.values if replace(condition, values=(value,)).matches(values)
                )
            else:
                reasons.append(f"{'with another' if values else 'without'} {condition.keyword}")
        if named:
            return next(iter(reasons), "")
        if FOR_PROCESSING in shown_values(header, _INTENT) and not any(one.keyword == _INTENT for one in conditions):
            reasons.append(FOR_PROCESSING)
        if self.separately and is_localizer(header) and not any(map(_names_localizers, conditions)):
            reasons.append(_SCOUT)
        return next(iter(reasons), "")

    def _require_fulfilled(self, found: bool) -> None:
        if not self._reasons:
            return
        fix = (
            "Check 'select' in the study and in the table 'data' of site.toml. If the images are the right ones and only lack "
            'the attribute, set select-missing = "use" there.'
        )
        for condition in self.conditions:
            if condition not in self._found:
                what = f"none of the {len(self._reasons)} images fulfils the condition {condition} of 'select'."
                raise DataError("IMG-SELECT", f"{what} {self._describe()}", fix)
        if not found and not any(reason == "" for reason in self._reasons.values()):
            what = f"none of the {len(self._reasons)} images is meant."
            raise DataError("IMG-SELECT", f"{what} {self._describe()}", self._advise_taking_all() or fix)

    def _warnings(self) -> list[Finding]:
        left_out = sum(map(bool, self._reasons.values()))
        if not left_out:
            return []
        what = f"{left_out} image(s) are not meant by this study and are set aside. {self._describe()}"
        unseen = [
            f"{condition.keyword}={value}"
            for condition in self.conditions
            for value in condition.values
            if not self._found[condition][value]
        ]
        if unseen:
            what = f"{what} No image has {', '.join(unseen)}."
        fix = "Nothing to do if these are others; else change 'select' in the table 'data' of site.toml."
        return [Finding.warning("IMG-SELECT", what, fix)]

    def _advise_taking_all(self) -> str:
        """Return how to take images that are set aside without any condition, all for one reason; empty for other reasons."""
        reasons = set(self._reasons.values())
        if len(reasons) > 1 or not (asked := _ASKED_BY.get(next(iter(reasons)))):
            return ""
        kept = "; ".join([*map(str, self.conditions), asked])
        return f"{_EXPORT_INSTEAD[asked]} To take these all the same, set select = \"{kept}\" in the table 'data' of site.toml."

    def _describe(self) -> str:
        counts = Counter(reason for reason in self._reasons.values() if reason)
        text = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
        return f"{text}." if text else ""


def _may_differ(reason: str) -> bool:
    """Return whether images of one series may differ in why one of them is not meant."""
    keyword = reason.removeprefix("with another ")
    return keyword in (FOR_PROCESSING, _SCOUT, *_IMAGE_KEYWORDS)


def _names_localizers(condition: ImageCondition) -> bool:
    return condition.keyword == _TYPE and any("localizer" in value.casefold() for value in condition.values)


def other_images_error() -> DataError:
    """Return the error of a place whose images are not meant; its case does not count."""
    return DataError("IMG-SELECT", "the images are not meant by this study.", "Check 'select' in the study and in site.toml.")


def unfulfilled_error(keyword: str) -> DataError:
    """Return the error of a row whose condition no image fulfils."""
    what = f"no image of the folder has the {keyword} of 'select'."
    return DataError("INDEX-SELECT", what, "Check the value, and that it belongs to an image of this folder.")
