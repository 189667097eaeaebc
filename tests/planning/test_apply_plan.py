"""A plan is written into a study as a person would write it: the rest of the text stays as it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from medfl.errors import ConfigError
from medfl.planning.apply_plan import apply_plan
from medfl.planning.plan import Plan, make_plan
from medfl.study import read_study

STUDY = """\
# Our study, third version.
[project]
name = "organ"
version = "1.0.0"

[tool.flwr.app]
publisher = "medfl"

[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"

[tool.flwr.app.config]
name = "organ"
rounds = 7   # as agreed

[tool.flwr.app.config.task]
kind = "segmentation"
dimension = 3
modality = "{modality}"
classes = "{classes}"

[tool.flwr.app.config.network]
# the old one
name = "unet"
channels = "8,16"
norm = "group"  # small batches

[tool.flwr.app.config.loss]
name = "dice-ce"

[tool.flwr.app.config.training]
batch-size = 4  # fits
local-steps = 50

# Ignored in a real deployment.
[tool.flwr.app.config.simulation]
data = ""
"""


def write(folder: Path, modality: str, classes: str, text: str = STUDY) -> Path:
    (folder / "pyproject.toml").write_text(text.format(modality=modality, classes=classes))
    return folder


@pytest.fixture
def plan(made: SimpleNamespace) -> Plan:
    """Return the plan of a CT study."""
    return make_plan(made.added(made.CT, [made.abdomen(k) for k in range(30)]), made.study_of(made.CT))


def test_filled_study_is_valid_and_says_what_was_planned(tmp_path: Path, plan: Plan) -> None:
    folder = write(tmp_path, "CT", "background,liver,tumour")
    (folder / "pyproject.toml").write_text(apply_plan(folder, plan).after)
    study = read_study(folder)
    assert study.network.name == "dynunet"
    assert (study.network.filters, study.network.strides, study.network.kernels) == (plan.filters, plan.strides, plan.kernels)
    assert (study.training.patch, study.training.batch_size) == (plan.patch, plan.batch)
    assert study.preprocessing.spacing == plan.spacing
    assert (study.preprocessing.intensity, study.preprocessing.crop) == ("standardize", "nonzero")
    assert plan.foreground is not None
    assert study.preprocessing.window == (round(plan.foreground.low, 1), round(plan.foreground.high, 1))
    assert (study.preprocessing.mean, study.preprocessing.std) == (
        round(plan.foreground.mean, 2),
        round(plan.foreground.std, 2),
    )
    assert apply_plan(folder, plan).changes == {}


def test_everything_else_stays_as_it_was_written(tmp_path: Path, plan: Plan) -> None:
    filling = apply_plan(write(tmp_path, "CT", "background,liver,tumour"), plan)
    gone = {line for line in filling.before.splitlines() if line not in filling.after.splitlines()}
    assert gone == {'name = "unet"', 'channels = "8,16"', "batch-size = 4  # fits"}
    for text in ("# Our study, third version.", "rounds = 7   # as agreed", "# the old one", 'norm = "group"  # small batches'):
        assert text in filling.after
    assert f"batch-size = {plan.batch}  # fits" in filling.after
    comment, table = filling.after.splitlines()[filling.after.splitlines().index("# Ignored in a real deployment.") :][:2]
    assert (comment, table) == ("# Ignored in a real deployment.", "[tool.flwr.app.config.simulation]")
    assert filling.changes["network.channels"] == ("8,16", None)
    assert filling.changes["training.batch-size"] == (4, plan.batch)
    assert "rounds" not in filling.changes
    assert "-channels" in "\n".join(filling.diff())


def test_what_belongs_to_the_old_normalisation_goes(tmp_path: Path, made: SimpleNamespace) -> None:
    more = '[tool.flwr.app.config.preprocessing]\nintensity = "window"\nwindow = "0,100"\nsize = "9,9,9"\ndtype = "float16"\n\n'
    text = STUDY.replace("[tool.flwr.app.config.network]", more + "[tool.flwr.app.config.network]")
    folder = write(tmp_path, "MR", "background,organ", text)
    cases = [made.abdomen(k) for k in range(5)]
    found = made.added(made.MR, [type(c)(c.spacing, c.shape, 1.0, (0.1,)) for c in cases])
    after = apply_plan(folder, make_plan(found, made.study_of(made.MR))).after
    (folder / "pyproject.toml").write_text(after)
    chosen = read_study(folder).preprocessing
    assert (chosen.intensity, chosen.window, chosen.size, chosen.dtype) == ("zscore", (), (), "float16")


def test_line_ends_of_windows_stay(tmp_path: Path, plan: Plan) -> None:
    folder = write(tmp_path, "CT", "background,liver,tumour")
    path = folder / "pyproject.toml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert "rounds = 7   # as agreed\r\n" in apply_plan(folder, plan).after


def test_tables_written_in_one_line_are_filled_in_too(tmp_path: Path, plan: Plan) -> None:
    old = '[tool.flwr.app.config.network]\n# the old one\nname = "unet"\nchannels = "8,16"\nnorm = "group"  # small batches\n'
    text = STUDY.replace(old, "").replace(
        "rounds = 7   # as agreed",
        'rounds = 7   # as agreed\nnetwork = {{name = "unet", channels = "8,16"}}\nloss.name = "dice-ce"',
    )
    text = text.replace('[tool.flwr.app.config.loss]\nname = "dice-ce"\n', "")
    folder = write(tmp_path, "CT", "background,liver,tumour", text)
    (folder / "pyproject.toml").write_text(apply_plan(folder, plan).after)
    assert read_study(folder).network.name == "dynunet"
    assert "rounds = 7   # as agreed" in (folder / "pyproject.toml").read_text()


def test_a_study_that_is_wrong_is_refused_before_anything(tmp_path: Path, plan: Plan) -> None:
    folder = write(tmp_path, "CT", "background,liver,tumour", STUDY.replace("rounds = 7", "rounds = 0"))
    with pytest.raises(ConfigError, match="rounds"):
        apply_plan(folder, plan)


def test_a_plan_that_the_rest_of_the_study_forbids_is_refused(tmp_path: Path, plan: Plan) -> None:
    folder = write(tmp_path, "CT", "background,liver,tumour", STUDY.replace('norm = "group"', "dropout = 0.5"))
    wrong = Plan(**{**vars(plan), "patch": (33, 33, 33)})
    with pytest.raises(ConfigError, match=r"training\.patch"):
        apply_plan(folder, wrong)
