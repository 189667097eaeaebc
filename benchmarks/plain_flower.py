"""Cost of a round in Flower alone: SuperNodes on loopback, TLS, node authentication, two exchanges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from medfl.flower import compat

ROUNDS = 3
_SERVER = """
import json, time
import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
app = ServerApp()
@app.main()
def main(grid: Grid, context: Context) -> None:
    begun = []
    def note(server_round, arrays):
        begun.append(time.monotonic())
    strategy = FedAvg(min_train_nodes=3, min_evaluate_nodes=3, min_available_nodes=3)
    strategy.start(grid, ArrayRecord([np.zeros(1000, np.float32)]), num_rounds=context.run_config["rounds"], evaluate_fn=note)
    json.dump([b - a for a, b in zip(begun, begun[1:])], open(context.run_config["out"], "w"))
"""
_CLIENT = """
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
@app.train()
def train(message: Message, context: Context) -> Message:
    metrics = MetricRecord({"loss": 0.1, "num-examples": 10})
    return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)
@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    return Message(RecordDict({"metrics": MetricRecord({"loss": 0.1, "num-examples": 10})}), reply_to=message)
"""
_APP = """
[project]
name = "plain"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "plain_server:app"
clientapp = "plain_client:app"
[tool.flwr.app.config]
rounds = 1
out = ""
"""


def seconds_per_round(folder: Path, port: int, keys: list[Path], ca: Path, certificate: Path, key: Path) -> list[float]:
    """Run Flower's own FedAvg, with nothing to train, and return the seconds of each round.

    Parameters
    ----------
    folder : Path
        Folder to work in.
    port : int
        A free one for the SuperLink; the next ones are for the SuperNodes.
    keys : list of Path
        Private keys of the nodes, OpenSSH format, each with its public one beside it as ``<name>.pub``.
    ca, certificate, key : Path
        Files of the server, for 127.0.0.1.
    """
    address, app, out = f"127.0.0.1:{port}", folder / "plain", folder / "plain.json"
    app.mkdir(parents=True)
    for name, text in (("pyproject.toml", _APP), ("plain_server.py", _SERVER), ("plain_client.py", _CLIENT)):
        (app / name).write_text(text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"FLWR_HOME": str(folder / "flwr"), "PATH": path}
    compat.disable_telemetry(environment)
    (folder / "flwr").mkdir()
    (folder / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "fed"\n[superlink.fed]\naddress = "{address}"\nroot-certificates = "{ca}"\n'
    )
    tls = ["--ssl-ca-certfile", ca, "--ssl-certfile", certificate, "--ssl-keyfile", key]
    with ExitStack() as stack:
        link = ["flower-superlink", "--host", "127.0.0.1", "--port", port, *tls, "--enable-supernode-auth"]
        stack.enter_context(_running([*link, "--disable-runtime-dependency-installation"], folder, environment))
        for k, node in enumerate(keys):
            _flwr(["supernode", "register", f"{node}.pub", "fed"], environment)
            command = ["flower-supernode", "--superlink", address, "--root-certificates", ca]
            command += ["--auth-supernode-private-key", node, "--host", "127.0.0.1", "--port", port + 1 + k]
            stack.enter_context(_running(command, folder, environment))
        result = _flwr(["run", str(app), "fed", "-c", f'rounds={ROUNDS} out="{out}"'], environment)
        ask = ["ls", "fed", "--run-id", str(result["run-id"])]
        while not str(_flwr(ask, environment)["runs"][0]["status"]).startswith("finished"):
            time.sleep(1.0)
    seconds: list[float] = json.loads(out.read_text())
    return seconds


@contextmanager
def _running(command: list[object], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with (folder / "plain.log").open("ab") as log:
        process = subprocess.Popen(list(map(str, command)), env=environment, cwd=folder, stdout=log, stderr=log)
        time.sleep(3.0)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _flwr(arguments: list[str], environment: dict[str, str]) -> dict[str, list[dict[str, object]]]:
    command = ["flwr", *arguments, "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return result
