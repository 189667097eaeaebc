"""The reference of a study's keys: none is missing, none is left over, and its defaults and examples are valid."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from medfl.errors import ConfigError
from medfl.study import key_reference
from medfl.study.key_reference import Key, list_keys
from medfl.study.study_app import read_app
from tests.studies import NODULE_STUDY

MEANINGS = Path(key_reference.__file__).with_name("keys.toml")


def test_every_meaning_belongs_to_a_key() -> None:
    def names(table: dict[str, Any], before: str = "") -> set[str]:
        tables = {name: value for name, value in table.items() if isinstance(value, dict)}
        inner = {full for name, value in tables.items() for full in names(value, f"{before}{name}.")}
        return {before + name for name in table.keys() - tables.keys()} | inner

    def place(key: Key) -> str:
        own_table = key.only and key.table == "network"
        return f"{key.table or 'study'}.{f'{key.only}.' if own_table else ''}{key.name}"

    written = names(tomllib.loads(MEANINGS.read_text()))
    assert written == {place(key) for key in list_keys()}


@pytest.mark.parametrize("key", [key for key in list_keys() if key.table not in ("network", "strategy.options")], ids=str)
def test_every_key_is_one_that_a_study_may_have(key: Key, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(NODULE_STUDY)
    with pytest.raises(ConfigError) as caught:
        read_app(tmp_path, {key.full_name: {"no": "value of any key"}})
    assert "Did you mean" not in str(caught.value)
    assert "Valid keys" not in str(caught.value)
