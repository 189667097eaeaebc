"""Rounds of a study: which model is chosen, when training stops, and what the history records. Hospitals are scripted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.errors import QuorumError
from medfl.grids.streaming import StreamingGrid
from medfl.messages import records
from medfl.messages.records import to_array_record
from medfl.runs import checkpoint_files
from medfl.runs.run_folder import Run
from medfl.server.federation import Federation
from medfl.server.joining import join_sites
from medfl.server.run import run_study
from medfl.simulation.embedded_grid import EmbeddedGrid
from medfl.simulation.worker_pool import WorkerPool
from medfl.study import read_app, read_run_config

APP = """
import time
import numpy as np
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from medfl import metrics
from medfl.messages import records
from medfl.study import study_from_run_config

DICE = {dice}          # of the model of each round, from round 1
BROKEN = {broken}      # partition -> rounds in which it sends not-a-number
ODD = {odd}            # partition -> in what its answers differ from those of an honest site
app = ClientApp()

def scores(context, model):
    study = study_from_run_config(context.run_config)
    values = metrics.empty_metrics(study)
    if ODD.get(context.node_config["partition-id"]) == "metrics":
        values.pop("eval.dice.liver")
    elif model >= 1:
        values |= {{"eval.patients": 2, "eval.patients.liver": 2, "eval.dice.liver": DICE[model - 1]}}
    return values

def answer(message, *parts):
    content, asked = records.build_reply_content(*parts), message.content["config"]
    content["site"].update({{key: asked[key] for key in (records.RUN, records.ROUND, records.EXCHANGE)}})
    return Message(content, reply_to=message)

@app.query("join")
def join(message, context):
    name = "site-" + "abc"[context.node_config["partition-id"]]
    odd = ODD.get(context.node_config["partition-id"])
    name = {{"path": "../../outside", "nameless": ""}}.get(odd, name)
    if odd == "slow":
        time.sleep(2)
    if odd == "silent":
        return Message(RecordDict(), reply_to=message)
    counts = {{f"join.{{s}}-{{w}}": 2 for s in ("train", "validation", "test") for w in ("patients", "cases")}}
    values = {{"excluded": "", "warnings": "", "patient-ids": "yes", records.MODEL_HASH: "{layout}"}}
    return Message(records.build_reply_content(name, counts, site_info=values), reply_to=message)

@app.train()
def train(message, context):
    at = message.content["config"]["server-round"]
    partition = context.node_config["partition-id"]
    arrays = records.from_array_record(message.content["arrays"])
    arrays = {{name: array + 1 + partition for name, array in arrays.items()}}
    if at in BROKEN.get(partition, ()):
        arrays = {{name: array * np.float32(np.nan) for name, array in arrays.items()}}
    values = {{"train.patients": 2, "train.samples": 2, "train.steps": 1, "train.loss": 1.0, "train.seconds": 0.1}}
    left_out = {{"excluded": "LBL-EMPTY=<10,NII-4D=12"}} if partition == 0 else {{}}
    return answer(message, "site", values | scores(context, at - 1), arrays, left_out)

@app.evaluate()
def evaluate(message, context):
    with open({log!r}, "a") as log:
        log.write("evaluate\\n")
    arrays = records.from_array_record(message.content["arrays"])
    return answer(message, "site", scores(context, len(DICE)))
"""

STUDY = """
[project]
name = "scripted"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "scripted"
rounds = 5
[tool.flwr.app.config.task]
kind = "segmentation"
dimension = 3
modality = "CT"
classes = "background,liver"
[tool.flwr.app.config.network]
name = "unet"
[tool.flwr.app.config.loss]
name = "dice-ce"
[tool.flwr.app.config.strategy]
wait = 5
"""

MODEL = {"weight": np.zeros((2, 3), np.float32)}
Conduct = Callable[..., Run]


@pytest.fixture
def conducted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conduct:
    """Return a function that conducts a study with three scripted hospitals and returns its run."""

    def run(
        dice: list[float],
        broken: dict[int, tuple[int, ...]] | None = None,
        layout: str = "",
        odd: dict[int, str] | None = None,
        **overrides: Any,
    ) -> Run:
        layout = layout or records.layout_hash(MODEL)
        script = APP.format(dice=dice, broken=broken or {}, layout=layout, odd=odd or {}, log=str(tmp_path / "asked"))
        (tmp_path / "scripted_client.py").write_text(script)
        (tmp_path / "pyproject.toml").write_text(STUDY)
        monkeypatch.syspath_prepend(tmp_path)
        changes = {key.replace("__", "."): value for key, value in overrides.items()}
        made = Run.create(tmp_path / "runs", read_app(tmp_path, changes))
        with WorkerPool(1, "scripted_client:app") as pool:
            grid = StreamingGrid(EmbeddedGrid(pool, 3, read_run_config(tmp_path) | changes))
            federation: Federation = join_sites(grid, made, 3, records.layout_hash(MODEL))
            run_study(federation, to_array_record(MODEL))
        return made

    return run


def rounds_of(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.history.read() if event["event"] == "round"]


def test_the_model_with_the_best_validation_score_is_kept_and_tested(conducted: Conduct) -> None:
    run = conducted([0.1, 0.6, 0.9, 0.3, 0.2])
    best = checkpoint_files.load(run.path, "best")
    assert best.meta["round"] == 3
    np.testing.assert_array_equal(best.arrays["weight"], np.full((2, 3), 3 * 2.0))  # each round adds the mean of 1, 2, 3
    assert checkpoint_files.load(run.path, "final").meta["round"] == 5
    (test,) = [event for event in run.history.read() if event["event"] == "test"]
    assert test["model"] == {"round": 3}
    assert sorted(test["sites"]) == ["site-a", "site-b", "site-c"]


def test_the_score_in_a_round_is_that_of_the_model_before(conducted: Conduct) -> None:
    run = conducted([0.1, 0.6, 0.9, 0.3, 0.2])
    assert [event["score"] for event in rounds_of(run)] == [None, *map(pytest.approx, (0.1, 0.6, 0.9, 0.3))]
    (closing,) = [event for event in run.history.read() if event["event"] == "scored"]
    assert closing["score"] == pytest.approx(0.2)


def test_every_round_records_what_each_site_used_and_left_out(conducted: Conduct) -> None:
    run = conducted([0.1] * 5, broken={2: (1,)})
    first, second = ({site: (x["used"], x["excluded"]) for site, x in e["sites"].items()} for e in rounds_of(run)[:2])
    assert first == {"site-a": (2, {"LBL-EMPTY": -10, "NII-4D": 12}), "site-b": (2, {}), "site-c": (None, {})}
    assert second["site-c"] == (2, {})


def test_training_stops_when_nothing_has_become_better_for_long_enough(conducted: Conduct) -> None:
    run = conducted([0.1, 0.6, 0.5, 0.4, 0.3], strategy__patience=1)
    assert [event["round"] for event in rounds_of(run)] == [1, 2, 3, 4]
    assert checkpoint_files.load(run.path, "best").meta["round"] == 2


def test_no_more_checkpoints_are_kept_than_are_needed(conducted: Conduct) -> None:
    run = conducted([0.1, 0.6, 0.9, 0.3, 0.2])
    assert checkpoint_files.list_names(run.checkpoints) == ["federated-round-0003", "federated-round-0005"]


def test_an_update_that_is_not_finite_is_left_out_and_recorded(conducted: Conduct) -> None:
    run = conducted([0.1] * 5, broken={2: (1,)})
    first = rounds_of(run)[0]
    assert first["sites"]["site-c"]["status"] == "refused"
    assert "UPDATE-NONFINITE" in first["sites"]["site-c"]["reason"]
    assert first["sites"]["site-a"]["status"] == "ok"
    final = checkpoint_files.load(run.path, "final").arrays["weight"]
    np.testing.assert_array_equal(final, np.full((2, 3), 1.5 + 4 * 2.0))


def test_a_round_below_the_quorum_ends_the_run_and_says_why(conducted: Conduct, tmp_path: Path) -> None:
    with pytest.raises(QuorumError, match="UPDATE-NONFINITE"):
        conducted([0.1] * 5, broken={0: (2,), 1: (2,)}, strategy__quorum=2)
    (path,) = (tmp_path / "runs" / "scripted").iterdir()
    failed = rounds_of(Run.open(path))[-1]
    assert failed["round"] == 2
    assert [failed["sites"][site]["status"] for site in ("site-a", "site-b", "site-c")] == ["refused", "refused", "ok"]


@pytest.mark.parametrize("name", ["krum", "fedtrimmedavg"])
def test_a_rule_for_more_sites_than_there_are_is_refused_before_anybody_trains(
    conducted: Conduct, name: str, tmp_path: Path
) -> None:
    with pytest.raises(QuorumError, match="TOO-FEW"):
        conducted([0.1] * 5, strategy__name=name)
    (path,) = (tmp_path / "runs" / "scripted").iterdir()
    assert not rounds_of(Run.open(path))


def test_a_site_whose_network_differs_cannot_take_part(conducted: Conduct) -> None:
    with pytest.raises(QuorumError, match="TOO-FEW-SITES"):
        conducted([0.1] * 5, layout="another")


def test_each_hospital_alone_keeps_its_own_model(conducted: Conduct) -> None:
    run = conducted([0.1, 0.6, 0.9, 0.3, 0.2], arms="federated,local")
    tests = [event for event in run.history.read() if event["event"] == "test" and event["arm"] == "local"]
    assert [event["model"] for event in tests] == [{"round": 3, "site": f"site-{x}"} for x in "abc"]
    own = checkpoint_files.load(run.checkpoints, "local-site-c-round-0003").arrays["weight"]
    np.testing.assert_array_equal(own, np.full((2, 3), 9.0))


def test_a_site_is_not_asked_to_score_the_last_local_models_of_others(conducted: Conduct, tmp_path: Path) -> None:
    conducted([0.1, 0.6, 0.9, 0.3, 0.2], arms="local")
    asked = (tmp_path / "asked").read_text().split()
    assert len(asked) == 3 + 3 * 3  # each its own last model; then, in the test, each the models of all


def test_a_hospital_that_never_trained_has_no_local_model_to_compare(conducted: Conduct) -> None:
    run = conducted([0.1, 0.6, 0.9, 0.3, 0.2], broken={2: (1, 2, 3, 4, 5)}, arms="local")
    tests = [event for event in run.history.read() if event["event"] == "test"]
    assert [event["model"]["site"] for event in tests] == ["site-a", "site-b"]
    assert not [name for name in checkpoint_files.list_names(run.checkpoints) if "site-c" in name]


@pytest.mark.parametrize(("odd", "code"), [("path", "SITE-NAME"), ("nameless", "SITE-NAME"), ("silent", "JOIN-UNREADABLE")])
def test_a_node_that_does_not_say_who_it_is_cannot_take_part(conducted: Conduct, odd: str, code: str) -> None:
    run = conducted([0.1] * 5, odd={1: odd})
    events = run.history.read()
    assert [e["site"] for e in events if e["event"] == "joined"] == ["site-a", "site-c"]
    (failed,) = [e for e in events if e["event"] == "failed"]
    assert failed["reason"].startswith(f"[{code}]")
    assert "outside" not in failed["reason"]


def test_metrics_of_one_site_that_are_not_the_studys_do_not_end_the_run(conducted: Conduct) -> None:
    run = conducted([0.1, 0.6, 0.9, 0.3, 0.2], odd={1: "metrics"})
    assert checkpoint_files.load(run.path, "best").meta["round"] == 3
    failed = [event for event in run.history.read() if event["event"] == "failed"]
    assert {event["site"] for event in failed} == {"site-b"}
    assert all(event["reason"].startswith("[METRICS-MISMATCH]") for event in failed)
    assert {event["during"] for event in failed} == {"validation", "test"}


def test_a_node_that_is_late_to_join_is_recorded(conducted: Conduct) -> None:
    run = conducted([0.1] * 5, odd={2: "slow"}, strategy__deadline=1.5)
    (failed,) = [event for event in run.history.read() if event["event"] == "failed"]
    assert failed["reason"].startswith("[NO-REPLY]")


@pytest.mark.parametrize("name", ["cyclic", "fedbuff"])
def test_models_that_sites_did_not_all_start_from_are_scored_afterwards(conducted: Conduct, name: str, tmp_path: Path) -> None:
    run = conducted([0.1, 0.6, 0.9, 0.3, 0.25], evaluation__every=2, strategy__name=name)
    assert all("score" not in event and "eval" not in event for event in rounds_of(run))
    closing = [event for event in run.history.read() if event["event"] == "scored"]
    assert [(event["round"], event["score"]) for event in closing] == [(n, 0.25) for n in (2, 4, 5)]
    # rounds 2, 4, 5 and the test; with a buffer of two replies one site is still at work after rounds 2 and 4, and left alone
    asked = {"cyclic": 3 + 3 + 3 + 3, "fedbuff": 2 + 2 + 3 + 3}[name]
    assert len((tmp_path / "asked").read_text().split()) == asked
    assert checkpoint_files.load(run.path, "best").meta["round"] == 2
