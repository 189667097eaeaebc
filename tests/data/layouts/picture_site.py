"""A site whose index lists pictures, for tests of its columns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medfl.data.cases import Cohort


def write_index(root: Path, *rows: str, columns: str = "image,label,patient") -> None:
    (root / "index.csv").write_text("\n".join((columns, *rows)))


def picture_site(root: Path, make_site: Any, columns: str, rows: list[str], **data: Any) -> Any:
    """Return a site of different pictures, one for each row of its index."""
    for n in range(len(rows)):
        Image.fromarray(np.arange(n, n + 240, dtype=np.uint8).reshape(12, 20)).save(root / f"{n}.png")
    write_index(root, *rows, columns=columns)
    return make_site(root, **data)


def codes(cohort: Cohort) -> dict[str, int]:
    return dict(Counter(finding.code for finding in cohort.findings if finding.code != "SITE-ONE-PATIENT"))
