"""The file with the key of a run: `medfl run` writes it, and the run's process on the server reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medfl.messages.signatures import RunSigner, RunStatement

KEY_FILE = "run-key.json"  # in the folder of the submitted run, readable by its owner alone
SUBMITTED_VARIABLE = "MEDFL_SUBMITTED"  # the folder of all submitted runs, for Flower's processes


def read_run_signer(run: str) -> RunSigner | None:
    """Return what signs the messages of a run; None in a process that no federation's server started.

    Hospitals refuse the messages then.
    """
    path = find_submitted(run, KEY_FILE)
    if path is None:
        return None
    content = json.loads(path.read_bytes())
    return RunSigner(
        key=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content["key"])),
        statement=RunStatement.parse(content["statement"]),
        statement_signature=bytes.fromhex(content["statement-signature"]),
        certificate=content["certificate"].encode(),
        sites=content["sites"],
    )


def find_submitted(run: str, name: str) -> Path | None:
    """Return a file of a submitted run; None without one, or in a process that no federation's server started."""
    submitted = os.environ.get(SUBMITTED_VARIABLE)
    path = Path(submitted, run, name) if submitted else None
    return path if path and path.is_file() else None
