"""What a person reads of a wrong study or site.toml: one wave, in plain English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from medfl.deploy import kits, settings
from medfl.errors import ConfigError
from medfl.errors.validation import describe_invalid
from medfl.schema import Section
from medfl.site import Site
from medfl.study import Study, read_app
from medfl.study.study_file import Scalar

LIBRARY_WORDS = r"Input should|String should|Value error|tuple|pydantic|\[A-Z|\\d|\^|None"


def problems(study: Path, **changes: Scalar) -> dict[str, str]:
    """Return what is said of each wrong key; double underscores are dots, single ones hyphens."""
    overrides = {key.replace("__", ".").replace("_", "-"): value for key, value in changes.items()}
    with pytest.raises(ConfigError) as refused:
        read_app(study, overrides)
    found = refused.value.problems
    assert len({problem.key for problem in found}) == len(found)
    return {problem.key: f"{problem.what} {problem.fix}".strip() for problem in found}


def test_every_mistake_of_a_file_comes_in_one_wave(nodule_study: Path) -> None:
    found = problems(
        nodule_study,
        rounds=0,
        preprocessing__size=128,
        preprocessing__crop="body",
        network__name="vitt",
        augmentation__flip="0,5",
        training__batch_size=1.5,
        simulation__column="site",
        server__dead=1,
    )
    assert found.keys() == {
        "rounds",
        "preprocessing.size",
        "preprocessing.crop",
        "network.name",
        "augmentation.flip",
        "training.batch-size",
        "simulation.column",
        "server.dead",
    }
    assert found["rounds"] == "must be at least 1 (came 0)."
    assert found["augmentation.flip"] == "axes run from 0 to 1."
    assert found["simulation.column"] == "does nothing without a partition; write partition = 'column', or leave it out."
    assert not re.search(LIBRARY_WORDS, " ".join(found.values()))


def test_nothing_is_said_of_a_value_that_rests_on_a_wrong_one(nodule_study: Path) -> None:
    # without a size, 'unetr' would need a patch; with a kind that nobody knows, no loss is wrong
    assert "training.patch" not in problems(nodule_study, network__name="unetr", preprocessing__size="x")
    assert problems(nodule_study, task__kind="detection", loss__name="dice-ce").keys() == {"task.kind"}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("seed", "x", "needs a whole number (came 'x')."),
        ("seed", 1.5, "needs a whole number (came 1.5)."),
        ("rounds", True, "needs a whole number (came True)."),
        ("name", "A B", "must be 1 to 32 letters (a to z), digits or '-', beginning with a letter (came 'A B')."),
        ("preprocessing__clip", "yes", "must be true or false (came 'yes')."),
        ("optimizer__learning_rate", "fast", "needs a number (came 'fast')."),
        ("optimizer__learning_rate", 0, "must be more than 0 (came 0)."),
        ("splits__test", 1, "must be less than 1 (came 1)."),
        ("task__classes", 2, 'needs a text with commas, as "1,2,3" (came 2).'),
        ("training__tune", ["lora", "head"], 'needs a text with commas, not a list: write "lora, head" (came '),
        ("simulation__store", 2, "needs a text in quotes (came 2)."),
        ("preprocessing__size", 128, 'needs whole numbers with commas between them, as "32,32,32", in quotes (came 128).'),
        ("task__dimension", 4, "came 4, allowed: 2, 3."),
        ("loss__name", "dicee", "came 'dicee', allowed: cross-entropy, dice-ce, dice-focal, focal, generalized-dice. "),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(nodule_study: Path, key: str, value: Scalar, told: str) -> None:
    assert problems(nodule_study, **{key: value})[key.replace("__", ".").replace("_", "-")].startswith(told)


def test_no_number_is_taken_for_a_misspelt_one(nodule_study: Path) -> None:
    found = problems(nodule_study, network__name="resnet", network__depth=0)
    assert found["network.depth"] == "came 0, allowed: 10, 18, 34, 50."


def test_a_reason_that_nobody_has_thought_of_is_told_without_words_of_a_library() -> None:
    assert describe_invalid("datetime_parsing", {"error": "x"}) == "is not a value that is allowed here"
    assert describe_invalid("greater_than_equal", {}) == "is not a value that is allowed here"


def sections(kind: type[Section]) -> Iterator[type[Section]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from sections(inner)


def test_every_text_that_must_have_a_form_says_which_in_words() -> None:
    assert {Study, Site, kits.KitManifest} <= set(sections(Section))
    assert settings.Address
    forms = {
        f"{kind.__name__}.{name}": field.description
        for kind in sections(Section)
        for name, field in kind.model_fields.items()
        if any(getattr(part, "pattern", None) for part in field.metadata)
    }
    assert len(forms) >= 8
    assert all(forms.values()), [name for name, form in forms.items() if not form]
