"""Names in a study are text: what would command a terminal, break a line or run in MONAI is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.errors import ConfigError
from medfl.study import app_from_run_config, read_app, read_recorded_study, read_study
from medfl.study.plain_names import plain_text
from medfl.study.study_file import Scalar
from medfl.study.study_json import app_from_json, app_to_json, app_to_run_config

SAMPLE = Path(__file__).parents[2] / "sample_configs" / "hippocampus"
HOSTILE = ["$exit()", "@lesion", "%lesion", "a\nb", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\tb"]
BARE = {"task.classes": "background,anterior,", "task.channels": "T1,", "task.codes": "1:Anterior,2:"}


def overrides(key: str, name: str) -> dict[str, Scalar]:
    before: dict[str, Scalar] = {"task.classes": "background,anterior,posterior"}
    return before | {key: BARE[key] + name}


@pytest.mark.parametrize("key", BARE)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_study_with_such_a_name_is_refused_wherever_it_is_read_to_be_run(key: str, name: str) -> None:
    changes = overrides(key, name)
    flat = app_to_run_config(read_app(SAMPLE)) | changes
    for read in (lambda: read_app(SAMPLE, changes), lambda: read_study(SAMPLE, changes), lambda: app_from_run_config(flat)):
        with pytest.raises(ConfigError) as caught:
            read()
        assert [problem.key for problem in caught.value.problems] == [key]
        assert not set(str(caught.value)) & {"\x1b", "\u2028", "\u202e"}


@pytest.mark.parametrize(
    "name", ["5 % stenosis", "n\u00e9crose", "\u809d\u81d3", "T1 (post)", "GTV$", "a@b", "5\u00a0mm", "a|b"]
)
def test_other_names_are_a_studys_own_choice(name: str) -> None:
    assert read_study(SAMPLE, overrides("task.classes", name)).task.classes[-1] == name
    assert plain_text(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_records_of_earlier_studies_can_be_opened(name: str, tmp_path: Path) -> None:
    record = app_to_json(read_app(SAMPLE))
    record["study"]["task"]["classes"] = ["background", "anterior", name]
    assert app_from_json(record).study.task.classes[-1] == name
    written = "".join(f"\\u{ord(char):04x}" if not char.isprintable() else char for char in name)
    text = (SAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("classes"))
    tmp_path = tmp_path / "hippocampus"
    tmp_path.mkdir()
    content = text.replace(line, f'classes = "background,anterior,{written}"')
    (tmp_path / "pyproject.toml").write_text(content, encoding="utf-8")
    study, is_current = read_recorded_study(tmp_path)
    assert is_current
    assert study.task.classes[-1] == name
    with pytest.raises(ConfigError):
        read_study(tmp_path)  # the record that was read before makes it no better


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_written_of_them_is_text(name: str) -> None:
    shown = plain_text(name)
    assert shown.isprintable()
    assert shown[0] not in "$@%"
