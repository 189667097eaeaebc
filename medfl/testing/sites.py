"""Small studies and sites for tests, built in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np

from medfl.data.cases import Case, Split
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.schema import read_section
from medfl.site import Resources, Site
from medfl.study import Study

SITE = "hospital-a"


def make_study(kind: str = "segmentation", dimension: int = 2, **tables: Any) -> Study:
    """Build a study of four rounds with a tiny network.

    Parameters
    ----------
    kind : {"segmentation", "classification"}
        Kind of the task, which has two classes.
    dimension : int
        2 or 3.
    **tables
        Tables of the study, with keys as in its file; one that holds a ``name`` replaces the whole table, others are merged.
    """
    masks = kind == "segmentation"
    classes = "background,organ" if masks else "no,yes"
    values: dict[str, Any] = {
        "name": "tiny",
        "rounds": 4,
        "task": {"kind": kind, "dimension": dimension, "modality": "MR", "classes": classes},
        "network": {"name": "unet", "channels": "4,8", "residual-units": 1} if masks else {"name": "cnn", "channels": "4,8"},
        "loss": {"name": "dice-ce" if masks else "cross-entropy"},
    }
    if not masks:
        values["preprocessing"] = {"size": ",".join(["16"] * dimension)}
    for table, content in tables.items():
        fresh = isinstance(content, dict) and "name" in content
        values[table] = content if fresh or not isinstance(content, dict) else {**values.get(table, {}), **content}
    return read_section(Study, values, "pyproject.toml")


def make_site() -> Site:
    """Build a site that trains on the CPU."""
    return Site(name=SITE, resources=Resources(device="cpu"))


def make_organ_case(k: int, shape: tuple[int, ...], split: Split = "train", patient: str = "") -> PreparedCase:
    """Build a case: a noisy image with a bright square organ."""
    rng = np.random.default_rng(k)
    label = np.zeros(shape, np.uint8)
    corner = [int(rng.integers(1, n // 2 - 1)) for n in shape]
    label[tuple(slice(c, c + n // 2) for c, n in zip(corner, shape, strict=True))] = 1
    image = (rng.standard_normal((1, *shape)) * 0.3 + 2.0 * label).astype(np.float32)
    spacing = (1.0,) * len(shape)
    case = Case.without_files(f"case-{k:010d}", patient or f"pat-{k:016d}", split)
    return PreparedCase(case, image, label, spacing, {1: np.argwhere(label).astype(np.int16)})


def make_class_case(k: int, label: int, split: Split = "train", patient: str = "") -> PreparedCase:
    """Build a case: a 16 x 16 image whose bright spot shows its class."""
    rng = np.random.default_rng(100 + k)
    image = rng.standard_normal((1, 16, 16)).astype(np.float32) * 0.3
    image[0, 4:12, 4:12] += 2.0 * label
    case = Case.without_files(f"case-{k:010d}", patient or f"pat-{k:016d}", split)
    return PreparedCase(case, image, label, (1.0, 1.0))


def make_prepared(*cases: PreparedCase) -> PreparedData:
    """Return cases as the prepared data of one site."""
    return PreparedData(SITE, tuple(sorted(cases, key=lambda c: c.name)), (), True)


def make_segmentation_site(count: int = 6, shape: tuple[int, ...] = (16, 16)) -> PreparedData:
    """Build the data of a site with segmented images: training cases, and two each for validation and test."""
    return make_prepared(*(make_organ_case(k, shape, split) for k, split in enumerate(_list_splits(count, 2, 2))))


def make_classification_site() -> PreparedData:
    """Build the data of a site with classified images: 12 for training, and 4 each for validation and test."""
    return make_prepared(*(make_class_case(k, k % 2, split) for k, split in enumerate(_list_splits(12, 4, 4))))


def _list_splits(train: int, validation: int, test: int) -> Iterator[Split]:
    yield from repeat("train", train)
    yield from repeat("validation", validation)
    yield from repeat("test", test)
