"""Names and neighbours of a file that cannot be read tell the series that it may have been a part of."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from medfl.data.layouts.missing_parts import ImagePlaces


def places(*names: str, unread: Iterable[str] = ()) -> ImagePlaces:
    """Return places of images from ``path=series``."""

    class Item:
        def __init__(self, path: str) -> None:
            self.path_text = path

    images = [(Item(path), series) for path, series in (name.split("=") for name in names)]
    return ImagePlaces(images, unread)  # type: ignore[arg-type]


NUMBERED = places(*(f"d/IM{k:03d}={'ABC'[k // 10]}" for k in range(30) if k not in (14, 19, 20, 29)))


MIXED = places("d/3.dcm=A", "d/1.dcm=A", "d/2.dcm=B", "d/5.dcm=B", "d/6.dcm=A", "d/scout.dcm=C")


SPREAD = places("r/01/x1=A", "r/02/x2=A", "r/04/x4=A", "r/05/x1=B", "r/06/x2=B", "q/07/x1=C")


@pytest.mark.parametrize(
    ("where", "path", "expected"),
    [
        (NUMBERED, "d/IM014", "B"),  # between two slices of one series
        (NUMBERED, "d/IM019", "BC"),  # at the border of two
        (NUMBERED, "d/IM029", "C"),
        (NUMBERED, "d/IM014.gz", "B"),
        (NUMBERED, "d/im014.dcm.part", "B"),
        (NUMBERED, "d/README", ""),
        (NUMBERED, "d/other.dcm", ""),  # named as DICOM, but like none of the three
        (NUMBERED, "e/IM014", "B"),  # in a folder of its own, by a number that is free
        (NUMBERED, "e/IM029", ""),  # or the first of a series of its own
        (NUMBERED, "e/IM013", ""),
        (NUMBERED, "e/IM099", ""),
        (NUMBERED, "d/e/IM014", "B"),
        (NUMBERED, "d/e/IM013", ""),
        (NUMBERED, "d/e/other.dcm", ""),
        (NUMBERED, "d/IM014.txt", "B"),
        (NUMBERED, "d/IM014.xyz", "B"),
        (NUMBERED, "d/IM014.dcm.failed", "B"),
        (NUMBERED, "d/IM013.txt", ""),  # beside the slice that it is about
        (NUMBERED, "d/IM014.jpg", ""),
        (NUMBERED, "d/.IM014.Xk2pQ9", "B"),
        (NUMBERED, "d/.IM013.Xk2pQ9", ""),
        (NUMBERED, "e/.syncthing.IM014.tmp", "B"),
        (places("a/1.2.3.7.dcm=A", "a/1.2.3.9.dcm=A", "b/2.25.77.dcm=B"), "lost/1.2.3.8.dcm", "A"),  # named by UIDs
        (places("a/1.2.3.7.dcm=A", "a/1.2.3.9.dcm=A", "b/2.25.77.dcm=B"), "lost/2.25.900000.dcm", ""),
        (places("a/1=A", "a/2=A", "b/1=B", "b/2=B"), "lost/3", ""),  # any of them could go on
        (places(*(f"p{n}/{k}=S{n}" for n in range(60) for k in (1, 2, 4))), "lost/3", ""),  # of 60 patients
        (places("a/1=A", "a/2=A", unread=("b/1", "b/2", "b/3")), "b/3", ""),  # a series of its own
        (places("a/1=A", "a/2=A", unread=("a/b/1", "a/b/3")), "a/b/3", ""),
        (NUMBERED, "d/IM014.zip", ""),  # an archive of anything
        (NUMBERED, "d/IM014.tar.gz", ""),
        (NUMBERED, "d/IM014.dcm.zip", "B"),
        (places("a/1.2.840.7=A", "a/1.2.840.9=A"), "a/1.2.840.8.zip", ""),
        (places("a/1.2.840.7=A", "a/1.2.840.9=A"), "a/2024.zip", ""),
        (places("a/1.2.840.7=A", "a/1.2.840.9=A"), "a/2024.tar.gz", ""),
        (places("a/x.dcm=A", "a/y.dcm=A"), "a/x (1).dcm", ""),  # copies of what is there
        (places("a/x.dcm=A", "a/y.dcm=A"), "a/x - Kopie.dcm", ""),
        (places("a/x.dcm=A", "a/y.dcm=A"), "a/y copy 2.dcm", ""),
        (places("a/x.dcm=A", "a/y.dcm=A"), "a/z (1).dcm", "A"),
        (places("a/x.dcm=A", "a/x (1).dcm=A"), "a/x (2).dcm", "A"),  # as browsers number downloads of one name
        (places("a/IM (1).dcm=A", "a/IM (2).dcm=A"), "a/IM (3).dcm", "A"),
        (MIXED, "d/4.dcm", "AB"),  # names do not follow the series
        (places("d/1.dcm=A", "d/2.dcm=A"), "d/other.dcm", "A"),
        (SPREAD, "r/03/x3", "A"),
        (SPREAD, "r/07/x1", "B"),
        (SPREAD, "r/03/notes", ""),
        (SPREAD, "q/08/x1", ""),  # a folder of its own beside a series that has one folder
    ],
)
def test_names_and_neighbours_tell_the_series(where: ImagePlaces, path: str, expected: str) -> None:
    assert where.find_series(path, dicom=False) == set(expected)


def test_what_is_dicom_whatever_its_name_may_be_a_part_of_any_series_beside_it() -> None:
    assert NUMBERED.find_series("d/other", dicom=True) == set("ABC")
