"""UIDs of objects that medfl makes: the same prediction is the same object, however often it is written and sent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid


def derive_uid(*parts: str | bytes) -> UID:
    """Return a UID that is always the same for the same parts, and another for others.

    It is made of a hash (PS3.5 section B.2 leaves open how a UID is made), so nothing can be read from it.

    Parameters
    ----------
    parts : str or bytes
        What the object is made of, and what the UID is for.

    Examples
    --------
    >>> derive_uid("series", "1.2.3") == derive_uid("series", "1.2.3")
    True
    >>> derive_uid("series", "1.2.3") == derive_uid("series1", ".2.3")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return generate_uid(entropy_srcs=[digest.hexdigest()])


def list_source_uids(images: Sequence[Dataset]) -> str:
    """Return the UIDs of the images that an object is about, as a part for `derive_uid`."""
    return "\n".join(f"{image.SeriesInstanceUID} {image.SOPInstanceUID}" for image in images)
