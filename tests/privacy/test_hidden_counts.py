"""No count that a site tells determines one that it hides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from medfl.clients import joining
from medfl.data.cases import Case, Split
from medfl.data.findings import Finding
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.site import Policy, Site

K = 5
SITE = Site(name="north", policy=Policy(min_count=K))
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
IMAGE = np.zeros((1, 1, 1), np.float32)
WARNING = Finding.warning("PATCH-TOO-BIG", "the image is small.", "Nothing to do.")

Sizes = tuple[int, ...]


def make_site(sizes: Sizes, images: int) -> PreparedData:
    """Return a site with a warning about every case, and as many images of each patient."""
    cases = [
        Case.without_files(f"case-{split}-{n}-{image}", f"pat-{split}-{n}", split)
        for split, size in zip(SPLITS, sizes, strict=True)
        for n in range(size)
        for image in range(images)
    ]
    prepared = tuple(PreparedCase(case, IMAGE, 0, (1.0, 1.0)) for case in cases)
    return PreparedData("north", prepared, tuple(WARNING.of_case(case.name) for case in cases), patient_ids=True)


def small_sites() -> Iterator[Sizes]:
    yield from product(range(K, K + 3), range(K + 3), range(K + 3))


@pytest.mark.parametrize("images", [1, 2, 3, 8])
def test_what_is_told_at_joining_and_in_training_leaves_each_hidden_number_open(images: int) -> None:
    possible: dict[str, list[Sizes]] = defaultdict(list)
    for sizes in small_sites():
        prepared = make_site(sizes, images)
        told = (joining.patient_counts(prepared, SITE), joining.site_info(prepared, SITE), sizes[0], sizes[0] * images)
        possible[repr(told)].append(sizes)
    for alike in possible.values():
        for split in range(len(SPLITS)):
            numbers = {sizes[split] for sizes in alike}
            assert len(numbers) == K - 1 if 0 < min(numbers) < K else len(numbers) == 1  # hidden: 1 to k - 1, and none is out


def test_the_number_of_images_of_hidden_patients_is_told_as_a_true_bound() -> None:
    told = joining.patient_counts(make_site((6, 6, 4), images=3), SITE)
    assert (told["join.validation-cases"], told["join.test-patients"], told["join.test-cases"]) == (18, -5, -15)
    uneven = make_site((6, 6, 0), images=1)
    more = tuple(case for case in make_site((0, 0, 1), images=7).cases)
    told = joining.patient_counts(PreparedData("north", uneven.cases + more, (), patient_ids=True), SITE)
    assert told["join.test-cases"] == -10
    open_site = SITE.model_copy(update={"policy": Policy(min_count=0)})
    assert joining.patient_counts(make_site((6, 6, 4), images=3), open_site)["join.test-cases"] == 12
