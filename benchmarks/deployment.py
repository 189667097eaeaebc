"""Benchmark of a real federation, `python -m benchmarks.deployment`: a round's cost beyond training, against plain Flower's.

Both have three hospitals on loopback, TLS and node authentication. Plain Flower runs its FedAvg with an exchange to train and
one to evaluate, and has nothing to train. medfl runs behind nginx with one exchange a round; the seconds in which the slowest
site trained and scored are subtracted. ``--large`` also measures time and memory with a large model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.plain_flower import seconds_per_round
from medfl.data.synthetic.hospitals import make_nodule_images
from medfl.runs.history import read_history
from medfl.system.ports import find_free_port
from tests.conftest import NODULE_STUDY
from tests.deploy.loopback import Loopback, loopback, override_options

_ROUNDS = 8
_LARGE = ("rounds=2", "network.channels='1024,2560,3328'", "preprocessing.size='16,16'", "training.local-steps=1")
_PROCESSES = {
    "superlink": "flower-superlink",
    "server": "flwr-serverapp",
    "supernode": "medfl.deploy.supernode",
    "worker": "medfl.deploy.site_worker",
}


def main() -> None:
    """Print the ratio, and the memory of every process with the large model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also run a model of 100 million parameters")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        study = root / "nodule"
        study.mkdir()
        (study / "pyproject.toml").write_text(NODULE_STUDY)
        hospitals = sorted(
            p.parent for p in make_nodule_images(root / "hospitals", hospitals=3, patients=12, seed=1).glob("*/site.toml")
        )
        with loopback(root, hospitals) as federation:
            federation.approve(study, f"rounds={_ROUNDS}")
            federation.server_up()
            federation.sites_up()
            beyond = statistics.median(_beyond_training(federation, study))
            if parser.parse_args().large:
                _large(federation, study)
        plain = statistics.median(_plain(federation))
    print(f"seconds a round beyond training: {beyond:.2f}, plain Flower {plain:.2f}, ratio {beyond / plain:.2f} (at most 0.20)")


def _beyond_training(federation: Loopback, study: Path) -> list[float]:
    done = federation.medfl("run", study, "--federation", federation.folder, "--json", "-c", f"rounds={_ROUNDS}")
    rounds = [event for event in read_history(Path(json.loads(done.stdout)["run"])) if event["event"] == "round"]
    return [event["seconds"] - max(map(_training_seconds, event["sites"].values())) for event in rounds[1:]]


def _training_seconds(entry: dict[str, Any]) -> float:
    return float(entry["metrics"]["train.seconds"]) + float(entry["metrics"].get("eval.seconds", 0.0))


def _plain(federation: Loopback) -> list[float]:
    folder, keys = federation.folder, []
    for name, path in federation.hospitals.items():
        key = federation.root / name
        key.write_bytes((path / "site.key").read_bytes())
        request = json.loads((path / f"{name}.request.json").read_text())
        key.with_name(f"{name}.pub").write_text(request["public-key"])
        keys.append(key)
    certificates = (folder / "ca" / "ca.crt", folder / "server" / "server.crt", folder / "server" / "server.key")
    return seconds_per_round(federation.root / "plain", find_free_port(), keys, *certificates)


def _large(federation: Loopback, study: Path) -> None:
    federation.approve(study, *_LARGE)
    peaks: dict[str, float] = {}
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(peaks, done))
    watcher.start()
    begin = time.monotonic()
    try:
        run_command = federation.medfl("run", study, "--federation", federation.folder, "--json", *override_options(_LARGE))
    finally:
        done.set()
        watcher.join()
    run = Path(json.loads(run_command.stdout)["run"])
    size = (run / "final.safetensors").stat().st_size
    seconds = time.monotonic() - begin
    print(f"a model of {size / 4e6:.0f} million parameters, 3 hospitals: {seconds:.0f} s for 2 rounds and the test")
    print(f"peak resident memory: {', '.join(f'{name} {peak / 1e9:.2f} GB' for name, peak in sorted(peaks.items()))}")


def _watch(peaks: dict[str, float], done: threading.Event) -> None:
    while not done.wait(0.2):
        for process in psutil.process_iter(["cmdline", "memory_info"]):
            command = " ".join(process.info["cmdline"] or ())
            for name, word in _PROCESSES.items():
                if word in command and "parent_watch" not in command and process.info["memory_info"]:
                    peaks[name] = max(peaks.get(name, 0.0), process.info["memory_info"].rss)


if __name__ == "__main__":
    main()
