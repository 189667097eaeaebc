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
    submitted = os.environ.get(SUBMITTED_VARIABLE)
    if not submitted or not (path := Path(submitted) / run / KEY_FILE).is_file():
        return None
    content = json.loads(path.read_bytes())
    return RunSigner(
        key=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content["key"])),
        statement=RunStatement.parse(content["statement"]),
        statement_signature=bytes.fromhex(content["statement-signature"]),
        certificate=content["certificate"].encode(),
        sites=content["sites"],
    )
