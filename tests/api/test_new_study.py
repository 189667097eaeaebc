"""A study is made for data of each kind: it is valid, says nothing of where the data lies, and is the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.api import open_study
from medfl.api.data_look import DataLook, look_at_data
from medfl.api.new_study import StudyDraft, draft_study, list_samples, require_new
from medfl.api.study_questions import Question, Wishes
from medfl.deploy.bundle import write_app
from medfl.errors import ConfigError
from medfl.study import read_app
from tests.data_folders import MAKERS

TASKS = {
    "nnunet": ("segmentation", 3, "MR", ("background", "liver", "lesion")),
    "decathlon": ("segmentation", 3, "MR", ("background", "grey-matter", "white-matter")),
    "bids": ("segmentation", 3, "MR", ("background", "grey-matter", "white-matter")),
    "dicom": ("segmentation", 3, "MR", ("background", "grey-matter", "white-matter")),
    "pictures": ("classification", 2, "XR", ("sick", "well")),
    "pictures_with_masks": ("segmentation", 2, "XR", ("background", "marked")),
    "hospitals": ("classification", 2, "XR", ("clear", "nodule")),
}


def look_at(kind: str, root: Path, **wishes: str) -> DataLook:
    if not root.exists():
        MAKERS[kind](root)
    return look_at_data([root], Wishes(**wishes))  # type: ignore[arg-type]


def draft(kind: str, tmp_path: Path, **wishes: str) -> StudyDraft:
    return draft_study(tmp_path / "my-study", look_at(kind, tmp_path / "CANARY" / kind, **wishes))


@pytest.mark.parametrize("kind", MAKERS)
def test_each_kind_of_data_gets_a_study_that_is_valid_and_the_same_each_time(kind: str, tmp_path: Path) -> None:
    made = draft(kind, tmp_path)
    again = draft(kind, tmp_path)
    made.write()
    opened = open_study(tmp_path / "my-study")
    task = opened.study.task
    assert (task.kind, task.dimension, task.modality, task.classes) == TASKS[kind]
    assert made.file.text == again.file.text
    checked = opened.check(made.data)
    assert [site.name for site in checked.sites] == list(made.hospitals)
    assert checked.foretell() == ()
    assert min(made.hospitals.values()) > 0
    assert "CANARY" not in made.file.text + made.readme


def test_the_hospitals_are_those_of_a_column_or_folders_or_random(tmp_path: Path) -> None:
    assert draft("pictures", tmp_path).hospitals == {"north": 12, "south": 12}
    assert draft("pictures", tmp_path, hospitals="4").hospitals.keys() == {f"pictures-{k}" for k in (1, 2, 3, 4)}
    assert draft("pictures", tmp_path, hospitals="one").hospitals == {"pictures": 24}
    assert len(draft("hospitals", tmp_path).hospitals) == 3
    assert sum(draft("nnunet", tmp_path).hospitals.values()) == 10


def test_what_was_assumed_is_said_and_what_nobody_knows_is_marked(tmp_path: Path) -> None:
    made = draft("pictures_with_masks", tmp_path)
    marked = [line for line in made.file.text.splitlines() if "CHECK" in line]
    assert len(marked) == len(made.doubts) == 2
    assert "XR was assumed" in marked[0]
    assert "does not name its classes" in marked[1]
    assert not draft("pictures", tmp_path, modality="US").doubts
    assert draft("dicom", tmp_path).doubts == ()


def test_volumes_are_planned_by_the_rules_of_nnunet(tmp_path: Path) -> None:
    study = read_app(draft("nnunet", tmp_path).file).study
    assert study.preprocessing.spacing == (2.0, 2.0, 3.0)
    assert study.network.name == "dynunet"
    assert study.training.patch == (24, 20, 16)


def test_neither_hash_nor_bundle_knows_the_simulation(tmp_path: Path) -> None:
    hashes = set()
    for hospitals in ("hospital", "3"):
        folder = tmp_path / hospitals
        made = draft_study(folder, look_at("pictures", tmp_path / "CANARY", hospitals=hospitals), name="same")
        made.write()
        hashes.add(write_app(folder, {}, tmp_path / f"app-{hospitals}").approved_hash())
        app = (tmp_path / f"app-{hospitals}" / "pyproject.toml").read_text()
        assert not {"CANARY", "scans", "subject", "north"} & set(app.replace('"', " ").split())
    assert len(hashes) == 1


def test_a_person_is_asked_for_what_the_data_does_not_say(tmp_path: Path) -> None:
    asked: list[Question] = []
    answers = iter(["US", "one"])

    def ask(question: Question) -> str:
        asked.append(question)
        return next(answers)

    MAKERS["pictures"](tmp_path / "ultrasound-images")
    look = look_at_data([tmp_path / "ultrasound-images"], Wishes(), ask)
    assert [(question.choices, question.default) for question in asked] == [(("MR", "CT", "XR", "US"), "US"), ((), "hospital")]
    assert look.task is not None
    assert look.task.modality == "US"
    assert not look.doubts


@pytest.mark.parametrize("sample", list_samples())
def test_a_sample_study_is_taken_under_another_name(sample: str, tmp_path: Path) -> None:
    ours = read_app(draft_study(tmp_path / "mine", None, sample=sample).file)
    theirs = read_app(Path(__file__).parents[2] / "sample_configs" / sample)
    assert ours.study == theirs.study.model_copy(update={"name": "mine"})
    assert ours.simulation == theirs.simulation


def test_a_sample_gives_the_choices_and_the_data_its_task(tmp_path: Path) -> None:
    look = look_at("pictures", tmp_path / "data")
    study = read_app(draft_study(tmp_path / "mine", look, sample="chest-xray-view").file).study
    assert study.task.classes == ("sick", "well")
    assert study.network.name == "resnet"
    assert study.rounds == 24
    with pytest.raises(ConfigError, match=r"--from: the sample 'lungs' has task\.kind = 'segmentation'"):
        draft_study(tmp_path / "mine", look, sample="lungs")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"task": "segmentation", "label": "diagnosis"}, "--task: came 'segmentation', and the labels in the data are classes"),
        ({"label": "diagnos"}, "Did you mean 'diagnosis'"),
        ({"hospitals": "clinic"}, "--hospitals: came 'clinic'"),
        ({"hospitals": "1"}, "--hospitals: came '1'"),
    ],
)
def test_wishes_that_the_data_cannot_fulfil_are_refused(wishes: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        look_at("pictures", tmp_path / "data", **wishes)


def test_folders_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    for kind in ("dicom", "hospitals", "pictures"):
        MAKERS[kind](tmp_path / kind)
    with pytest.raises(ConfigError, match="these folders differ in kind"):
        look_at_data([tmp_path / "dicom", tmp_path / "hospitals"], Wishes())
    with pytest.raises(ConfigError, match="some of these folders have a table of images"):
        look_at_data([tmp_path / "dicom", tmp_path / "pictures"], Wishes())
    with pytest.raises(ConfigError, match="there is no folder"):
        look_at_data([tmp_path / "nothing"], Wishes())


def test_a_study_is_neither_overwritten_nor_put_into_the_data(tmp_path: Path) -> None:
    made = draft_study(tmp_path / "mine", None, sample="lungs")
    made.write()
    (tmp_path / "mine" / "README.md").write_text("mine")
    before = (tmp_path / "mine" / "pyproject.toml").read_text()
    for refused in (made.write, lambda: require_new(tmp_path / "mine", [])):
        with pytest.raises(ConfigError, match="not overwritten"):
            refused()
    assert (tmp_path / "mine" / "pyproject.toml").read_text() == before
    (tmp_path / "data").mkdir()
    with pytest.raises(ConfigError, match="lies in that of the data"):
        require_new(tmp_path / "data" / "study", [tmp_path / "data"])


def test_a_name_is_made_of_any_folder_and_a_given_one_is_checked(tmp_path: Path) -> None:
    made = draft_study(tmp_path / "2024 Thorax (München)", None, sample="lungs")
    assert made.file.app["config"]["name"] == "study-2024-thorax-m-nchen"
    with pytest.raises(ConfigError, match="name"):
        draft_study(tmp_path / "x", None, sample="lungs", name="no blanks allowed")
