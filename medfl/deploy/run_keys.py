"""Keys of runs at the server: made when a run is submitted or resumed, for its process alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.site_registry import list_enrolled
from medfl.errors import DeployError
from medfl.messages.run_signing import KEY_FILE
from medfl.messages.signatures import RunStatement, sign_statement
from medfl.system.files import write_private

RUN_KEY_DAYS = 180  # a run that takes longer is resumed, which makes a new key


def make_run_key(folder: FederationFolder, submitted: Path, run: str, study: str, sites: Iterable[str]) -> Path:
    """Make the key of a run, state what it is for, and write both for the run's process on the server.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    submitted : Path
        Folder of the submitted run.
    run : str
        Name of the run.
    study : str
        Hash of its study, as hospitals approve it.
    sites : iterable of str
        Names of the sites that may take part.

    Raises
    ------
    DeployError
        ``KEY-DAMAGED`` when the server's key cannot be read.
    """
    private = Ed25519PrivateKey.generate()
    certificate = folder.server_certificate.read_bytes()
    ends = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    expires = min(datetime.now(UTC) + timedelta(days=RUN_KEY_DAYS), ends)
    statement = RunStatement(run, study, private.public_key().public_bytes_raw().hex(), expires)
    wanted = set(sites)
    content = {
        "key": private.private_bytes_raw().hex(),
        "statement": statement.text(),
        "statement-signature": sign_statement(statement, _server_key(folder)).hex(),
        "certificate": certificate.decode(),
        "sites": {site.name: site.public_key for site in list_enrolled(folder) if site.name in wanted},
    }
    return write_private(submitted / KEY_FILE, json.dumps(content, indent=1).encode(), "the key of the run")


def _server_key(folder: FederationFolder) -> ec.EllipticCurvePrivateKey:
    fix = "Make a new one: medfl server renew --server, then start the server again."
    try:
        key = load_pem_private_key(folder.server_key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        raise DeployError("KEY-DAMAGED", "the key of the server's certificate is missing or cannot be read.", fix) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DeployError("KEY-DAMAGED", "the key of the server's certificate is of another kind.", fix)
    return key
