"""Checksums of prepared data: XXH3, as fast as memory is read, so that each file can be checked when it is first used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray


def checksum_array(array: NDArray[Any]) -> str:
    """Return the XXH3 of the bytes of a contiguous array, in hexadecimal."""
    return xxhash.xxh3_64(array.reshape(-1).view(np.uint8).data).hexdigest()


def checksum_facts(facts: Mapping[str, Any]) -> str:
    """Return the XXH3 of facts as JSON holds them, in hexadecimal."""
    return xxhash.xxh3_64(json.dumps(facts, sort_keys=True).encode()).hexdigest()
