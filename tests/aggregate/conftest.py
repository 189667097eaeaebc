"""Replies of small models, on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from medfl.aggregate import DiskReplies

StoreReplies = Callable[..., DiskReplies]


@pytest.fixture
def store_replies() -> Iterator[StoreReplies]:
    """Return a function that stores replies of one tensor ``w`` from the sites' values, in the order given."""
    with ExitStack() as stack:

        def make(replies: Mapping[str, Any], reference: Any = None, dtype: str = "float32") -> DiskReplies:
            first = np.zeros(np.shape(next(iter(replies.values())))) if reference is None else reference
            stored = stack.enter_context(DiskReplies({"w": np.array(first, dtype)}))
            for weight, (site, values) in enumerate(replies.items(), 1):
                stored.add(site, {"w": np.array(values, dtype)}, weight)
            return stored

        yield make
