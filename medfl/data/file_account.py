"""Account of the files of a data folder: each one used, or passed over for a reason; numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

# why a file is used or passed over, in the order in which it is told, in words for people
REASONS: Mapping[str, str] = {
    "image": "images",
    "label": "labels",
    "table": "tables and descriptions of the data set",
    "not-meant": "images that the study does not mean (`select`, for processing)",
    "unused-image": "images that no case uses",
    "unused-label": "labels that no case uses",
    "unused-table": "tables and descriptions that medfl does not read",
    "scout": "scouts",
    "screen": "pages of a screen (secondary captures)",
    "other-modality": "DICOM images of another modality",
    "no-image": "DICOM without an image (reports, presentation states, doses, raw data)",
    "headerless": "DICOM without the 128-byte header",
    "unreadable": "DICOM that cannot be read",
    "empty": "empty, or nothing but zeros",
    "archive": "archives and compressed files",
    "not-dicom": "no DICOM, though among DICOM files",
    "not-opened": "DICOM by name or place, not named by the index and not opened",
    "link-out": "links that lead out of the data folder",
    "link-inside": "links to files that are counted at their own place",
    "link-broken": "links that lead nowhere",
    "special": "pipes, sockets and devices",
    "prediction": "in folders of predictions by medfl",
    "hidden": "hidden, or of the operating system",
    "other": "other files",
}
_ONE = {  # where a single file is called otherwise
    "image": "image",
    "label": "label",
    "table": "table or description of the data set",
    "not-meant": "image that the study does not mean (`select`, for processing)",
    "unused-image": "image that no case uses",
    "unused-label": "label that no case uses",
    "unused-table": "table or description that medfl does not read",
    "scout": "scout",
    "screen": "page of a screen (secondary capture)",
    "other-modality": "DICOM image of another modality",
    "archive": "archive or compressed file",
    "link-out": "link that leads out of the data folder",
    "link-inside": "link to a file that is counted at its own place",
    "link-broken": "link that leads nowhere",
    "special": "pipe, socket or device",
    "other": "other file",
}
_USED = ("image", "label", "table")


@dataclass(frozen=True)
class FileAccount:
    """How many files a data folder holds, by what becomes of them.

    Parameters
    ----------
    counts : mapping of str to int
        Files by their reason (`REASONS`), in that order, without zeros.
    closed_folders : int
        Folders that cannot be opened: what is in them is not counted.
    folder_links : int
        Links to folders, which are not followed and no files.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    closed_folders: int = 0
    folder_links: int = 0

    @property
    def total(self) -> int:
        """All files."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, object]:
        """Return the account for JSON."""
        return {
            "total": self.total,
            "by-reason": dict(self.counts),
            "closed-folders": self.closed_folders,
            "folder-links": self.folder_links,
        }

    def rows(self) -> Iterator[tuple[str, int, bool]]:
        """Yield what becomes of files in words, their number, and whether they are used."""
        for reason, count in self.counts.items():
            yield _ONE.get(reason, REASONS[reason]) if count == 1 else REASONS[reason], count, reason in _USED
        if self.closed_folders:
            folders = "folder" if self.closed_folders == 1 else "folders"
            yield f"{folders} that cannot be opened, with all that is inside", self.closed_folders, False
        if self.folder_links:
            links = "link to a folder, not followed" if self.folder_links == 1 else "links to folders, which are not followed"
            yield links, self.folder_links, False

    def __str__(self) -> str:
        """Return all in two sentences.

        Examples
        --------
        >>> str(FileAccount({"image": 1200, "table": 1, "hidden": 2}))
        '1203 files: 1200 images, 1 table or description of the data set. Not used: 2 hidden, or of the operating system.'
        """
        used = ", ".join(f"{count} {words}" for words, count, is_used in self.rows() if is_used) or "none is used"
        rest = "; ".join(f"{count} {words}" for words, count, is_used in self.rows() if not is_used)
        return f"{self.total} {'file' if self.total == 1 else 'files'}: {used}." + (f" Not used: {rest}." if rest else "")
