"""Values that may be a person's name are not shown, in whatever script they are written."""

from __future__ import annotations

import pytest

from medfl.data.layouts.shown_values import is_impersonal_value


@pytest.mark.parametrize("text", ["benign", "unauffällig", "3 mm", "-1", "PA", "T2", "F", "<1 cm"])
def test_kinds_of_things_are_shown(text: str) -> None:
    assert is_impersonal_value(text)


@pytest.mark.parametrize(
    "text", ["Mueller", "Müller", "Étienne", "Østby", "Łukasz", "Çelik", "Иванов", "Ωmega", "王伟", "محمد"]
)
def test_a_word_with_a_capital_or_of_a_script_without_small_letters_is_not(text: str) -> None:
    assert not is_impersonal_value(text)
