"""No identity of a patient leaves the reader: canaries from every attribute are searched for in all that a run writes."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common.serde import message_to_proto

from medfl import client_app
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.flower import compat
from medfl.messages import records
from medfl.runs.history import read_history
from medfl.study import read_run_config, read_study
from tests.studies import study_text

STUDY = study_text(
    "canary",
    """
seed = 5
rounds = 2
task = {kind = "segmentation", dimension = 3, modality = "MR", classes = "background,grey-matter,white-matter"}
preprocessing = {spacing = "1.5,1.5,2", size = "16,16,8"}
splits = {validation = 0.25, test = 0.25}
network = {name = "unet", channels = "4,8", residual-units = 0}
loss = {name = "dice-ce"}
""",
)

# every logger at its lowest level and every warning shown, in the engine and in its workers
LOUD = "import logging, warnings\nlogging.basicConfig(level=1)\nwarnings.simplefilter('always')\n"

EXCLUDED = {
    "north": {"DCM-HEADER", "DCM-MISSING-SLICES", "DCM-READ", "DCM-TRUNCATED", "LBL-CLASSNAME"},
    "south": {"NII-TRUNCATED", "IMG-NAN", "LBL-MISSING", "LBL-VALUES"},
    "west": {"NII-TRUNCATED", "IMG-MISSING", "INDEX-PATH"},
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(STUDY)
    return folder


@pytest.mark.slow
def test_the_search_finds_what_was_planted(canaries: Any, tmp_path: Path) -> None:
    found = canaries.found_below(canaries.folder)
    assert set().union(*found.values()) >= {"text", "uid", "date", "time", "umlaut", "PatientWeight", "PatientSize"}
    assert all("text" in names for name, names in found.items() if "/data/" in name)
    assert canaries.found_in("a ZqXcAn b".encode("utf-16-le")) == {"text"}


@pytest.mark.slow
def test_no_identity_is_in_what_a_run_writes_and_prints(canaries: Any, study: Path, tmp_path: Path) -> None:
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud" / "sitecustomize.py").write_text(LOUD)
    command = [sys.executable, "-m", "medfl", "simulate", str(study), "--data", str(canaries.folder), "--workers", "2"]
    command += ["--out", str(tmp_path / "runs"), "--arms", "federated,local"]
    command += ["-c", "strategy.quorum=4", "-c", "simulation.max-excluded=0.5"]  # "lost" has no data, and a third is broken
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONPATH": str(tmp_path / "loud")}, timeout=300)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output.decode()
    assert b"DEBUG" in output  # the loggers were as loud as they can be
    (run,) = (tmp_path / "runs" / "canary").iterdir()
    events = read_history(run)
    assert events[-1]["status"] == "completed"
    joined = {event["site"]: event for event in events if event["event"] == "joined"}
    assert joined.keys() == {"north", "east", "south", "west"}
    assert {site: set(joined[site]["excluded"]) for site in EXCLUDED} == EXCLUDED
    assert (run / "report.html").is_file()
    assert len(list(run.glob("sites/*/previews/*.npz"))) >= 4
    assert canaries.found_in(output) == set()
    assert canaries.found_below(run) == {}
    for index in (tmp_path / "store").rglob("index.sqlite"):  # for `medfl data whois`, on this machine alone
        assert index.stat().st_mode & 0o777 == 0o600
        index.unlink()
    assert canaries.found_below(tmp_path / "store") == {}


@pytest.mark.parametrize("partition", range(5))
def test_no_identity_is_in_a_reply_or_in_the_log_of_a_site(
    partition: int, canaries: Any, study: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        replies = list(_replies(canaries.folder, study, tmp_path, partition))
    sent = [pickle.dumps(reply) + message_to_proto(reply).SerializeToString() for reply in replies]
    assert [reply.has_error() for reply in replies] == [partition == 1] * 4  # the site "lost" has no data to read
    assert canaries.found_in(b"".join(sent)) == set()
    assert canaries.found_in(caplog.text.encode()) == set()
    assert canaries.found_in(str([str(w.message) for w in warned]).encode()) == set()


def test_the_text_of_a_foreign_exception_stays_out_of_reply_and_log(
    canaries: Any, study: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        try:
            raise ValueError("date 19330713 of ZQXCAN^Doe")
        except ValueError as cause:
            raise FileNotFoundError("/data/ZQXCAN/1.dcm") from cause

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("medfl.clients.node_cache.prepare", fail)
    replies = list(_replies(canaries.folder, study, tmp_path, 0))
    reasons = {reply.error.reason for reply in replies}
    assert {reason[reason.index("[") :] for reason in reasons} == {"[SITE-ERROR] The details are in the log of the site."}
    assert "FileNotFoundError" in caplog.text
    assert "in fail" in caplog.text  # where it happened is logged, what it said is not
    assert canaries.found_in(caplog.text.encode()) == set()


def _replies(hospitals: Path, study: Path, tmp_path: Path, partition: int) -> Iterator[Message]:
    """Ask one site everything that a server asks, through its ClientApp."""
    run_config = read_run_config(study) | {"simulation.data": str(hospitals), "simulation.store": str(tmp_path / "store")}
    compat.identify_process(1, 7)
    context = Context(1, 7, {"partition-id": partition, "num-partitions": 5}, RecordDict(), run_config)
    arrays = records.to_array_record(get_arrays(build_network(read_study(study))))
    for kind, config in (
        (records.JOIN, {}),
        ("train", {records.ROUND: 2, records.ARM: "federated"}),
        ("evaluate", {records.SPLIT: "validation", records.ROUND: 2, records.ARM: "federated"}),
        (
            "evaluate",
            {records.SPLIT: "test", records.ROUND: 3, records.ARM: "federated", records.RUN_FOLDER: str(tmp_path / "run")},
        ),
    ):
        sent = {} if kind == records.JOIN else {records.ARRAYS: ArrayRecord(dict(arrays))}
        content = RecordDict({records.CONFIG: ConfigRecord(config), **sent})
        message = Message(content, dst_node_id=7, message_type=kind)
        compat.assign_message_id(message)
        yield client_app.app(message, context)
