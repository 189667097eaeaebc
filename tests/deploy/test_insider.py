"""A hospital that speaks as the server to another in a real federation: Flower delivers it, and the other hospital refuses."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.protobuf.client import ProtobufClient

from medfl.deploy.bundle import read_bundle_study
from medfl.deploy.federation_folder import open_federation
from medfl.deploy.identity import load_key, private_key_pem
from medfl.deploy.nodes import node_ids
from medfl.flower import compat
from medfl.flower.tasks import use_client_certificate
from medfl.messages import records
from medfl.messages.signatures import SIGNATURE, SignedMessage, digest_content, sign_statement
from tests.deploy.insider import Insider
from tests.deploy.local_server import needs_nginx, wait_for
from tests.deploy.loopback import Loopback, loopback
from tests.deploy.test_federation import hospital_folders
from tests.messages.signing import Authority

pytestmark = [
    pytest.mark.slow,
    needs_nginx,
    pytest.mark.filterwarnings("ignore:`verify=<str>` is deprecated"),  # Flower's way to name a certificate
]


def test_a_hospital_that_speaks_as_the_server_is_refused_and_found(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback(tmp_path, hospital_folders(nodule_hospitals)) as federation:
        federation.approve(nodule_study)
        federation.server_up()
        federation.sites_up()
        insider, victim = (federation.hospitals[name] for name in sorted(federation.hospitals)[:2])
        done: list[CompletedProcess[str]] = []
        run = threading.Thread(
            target=lambda: done.append(federation.medfl("run", nodule_study, "--federation", federation.folder, "--json"))
        )
        run.start()
        try:
            wait_for(lambda: decisions(victim).count("accepted") > 0)
            monkeypatch.setattr(ProtobufClient, "__init__", ProtobufClient.__init__)  # put back afterwards
            forge(federation, insider, victim, read_bundle_study(nodule_study).approved_hash())
            wait_for(lambda: {"MESSAGE-UNSIGNED", "MESSAGE-FORGED"} <= set(decisions(victim)))
        finally:
            run.join()
        result = json.loads(done[0].stdout)
        assert Path(result["report"]).is_file()  # the run went on
        verified = federation.medfl("audit", "verify", victim / "audit.jsonl", Path(result["run"]) / "audit.jsonl", check=False)
        assert verified.returncode == 1
        assert verified.stderr.count("It was refused: MESSAGE-") == 2


def forge(federation: Loopback, insider: Path, victim: Path, study: str) -> None:
    """Send the victim two questions as if the server asked them: an unsigned one, and one signed with the insider's means."""
    run = federation.newest()
    number = int(json.loads((federation.folder / "submitted" / run / "flower.json").read_bytes())["run-id"])
    nodes = node_ids(open_federation(federation.folder))
    node = int(nodes[victim.name])
    (federation.root / "insider.pem").write_bytes(private_key_pem(insider / "site.key"))
    use_client_certificate(insider / "site.crt", federation.root / "insider.pem")
    key = load_key(insider / "site.key")
    address = open_federation(federation.folder).settings.address
    stranger = Insider(address, insider / "ca.crt", key, int(nodes[insider.name]))
    compat.identify_process(number, compat.SERVER_NODE_ID)
    unsigned = question(run)
    assert stranger.push_as_server(Message(unsigned, dst_node_id=node, message_type=records.JOIN))
    forged = question(run)
    own = Authority.make(federation.root / "own").signer(run, study)
    signer = dataclasses.replace(
        own,
        statement_signature=sign_statement(own.statement, key),  # the authority certified this key, as a hospital's
        certificate=(insider / "site.crt").read_bytes(),
    )
    forged[SIGNATURE] = signer.sign(SignedMessage(number, records.JOIN, node, digest_content(forged)))
    assert stranger.push_as_server(Message(forged, dst_node_id=node, message_type=records.JOIN))
    stranger.close()


def question(run: str) -> RecordDict:
    return RecordDict({records.CONFIG: ConfigRecord({records.RUN: run, records.ROUND: 0})})


def decisions(hospital: Path) -> list[Any]:
    log = hospital / "audit.jsonl"
    return [json.loads(line).get("decision") for line in log.read_text().splitlines()] if log.exists() else []
