"""The how-to of a hospital names every key that it may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.settings import Section
from medfl.site import Policy, SiteData

TEXT = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [SiteData, Policy])
def test_every_key_is_explained(table: type[Section]) -> None:
    keys = [name.replace("_", "-") for name in table.model_fields]
    assert [key for key in keys if f"`{key}`" not in TEXT] == []
