"""The pages for a hospital name every key that it may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.schema import Section
from medfl.site import Policy, SiteData

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(("table", "page"), [(SiteData, "data.md"), (Policy, "policy.md")])
def test_every_key_is_explained(table: type[Section], page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    keys = [name.replace("_", "-") for name in table.model_fields]
    assert [key for key in keys if f"`{key}`" not in text and f"`{key} = " not in text] == []
