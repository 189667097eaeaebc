"""Pulls with DIMSE over TLS, in both directions."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from medfl.data.pacs.pull import pull_series
from tests.data.pacs.fake_pacs import FakePacs


@pytest.mark.parametrize("service", ["get", "move"])
def test_over_tls_both_sides_present_certificates(
    service: str, pacs: FakePacs, start: Any, pacs_site: Any, certificates: Path, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    pacs_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "pacs.crt"))
    pacs_tls.load_cert_chain(certificates / "pacs.crt", certificates / "pacs.key")
    pacs_tls.verify_mode = ssl.CERT_REQUIRED
    keys = start(pacs, ssl_context=pacs_tls)
    tls_keys = {"tls": True, "ca-file": "pacs.crt", "cert-file": "pacs.crt", "key-file": "pacs.key"}
    if service == "get":
        assert pull_series(pacs_site(**keys, **tls_keys)).series == 2
        assert refused(pacs_site(**keys, **tls_keys | {"ca-file": "untrusted.crt"})).code == "PACS-TLS"
        assert refused(pacs_site(**keys, tls=True, ca_file="pacs.crt")).code == "PACS-TLS"  # the PACS requires a certificate
        assert refused(pacs_site(**keys)).code in ("PACS-REFUSED", "PACS-UNREACHABLE")  # without tls
        assert refused(pacs_site(**keys, **tls_keys | {"key-file": "untrusted.key"})).code == "PACS-TLS"
        assert refused(pacs_site(**keys, **tls_keys | {"ca-file": "nowhere.crt"})).code == "PACS-TLS"
    else:
        outgoing_tls = ssl.create_default_context(cafile=str(certificates / "pacs.crt"))
        outgoing_tls.load_cert_chain(certificates / "pacs.crt", certificates / "pacs.key")
        connect = AE.associate

        def associate_with_tls(self: AE, addr: str, port: int, *args: Any, **kwargs: Any) -> Any:
            if port == pacs.move_port:
                kwargs["tls_args"] = (outgoing_tls, addr)
            return connect(self, addr, port, *args, **kwargs)

        monkeypatch.setattr(AE, "associate", associate_with_tls)
        assert pull_series(pacs_site(**keys, **tls_keys, move=f"127.0.0.1:{pacs.move_port}")).series == 2


def test_tls_to_a_pacs_without_it_is_reported(
    pacs: FakePacs, start: Any, pacs_site: Any, certificates: Path, refused: Any
) -> None:
    site = pacs_site(**start(pacs), tls=True, ca_file="pacs.crt", timeout=1, retries=0)
    assert refused(site).code == "PACS-TLS"
