"""DIMSE over TLS, both ways."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE

from medfl.data.pacs.pull import pull_series
from tests.data.pacs.madeup import MadeUpPacs


@pytest.mark.parametrize("way", ["get", "move"])
def test_over_tls_both_sides_show_certificates(
    way: str, pacs: MadeUpPacs, start: Any, pacs_site: Any, certificates: Path, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    wanting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "pacs.crt"))
    wanting.load_cert_chain(certificates / "pacs.crt", certificates / "pacs.key")
    wanting.verify_mode = ssl.CERT_REQUIRED
    keys = start(pacs, ssl_context=wanting)
    own = {"tls": True, "ca-file": "pacs.crt", "cert-file": "pacs.crt", "key-file": "pacs.key"}
    if way == "get":
        assert pull_series(pacs_site(**keys, **own)).series == 2
        assert refused(pacs_site(**keys, **own | {"ca-file": "stranger.crt"})).code == "PACS-TLS"
        assert refused(pacs_site(**keys, tls=True, ca_file="pacs.crt")).code == "PACS-TLS"  # it wants a certificate
        assert refused(pacs_site(**keys)).code in ("PACS-REFUSED", "PACS-UNREACHABLE")  # without tls
        assert refused(pacs_site(**keys, **own | {"key-file": "stranger.key"})).code == "PACS-TLS"
        assert refused(pacs_site(**keys, **own | {"ca-file": "nowhere.crt"})).code == "PACS-TLS"
    else:
        going_out = ssl.create_default_context(cafile=str(certificates / "pacs.crt"))
        going_out.load_cert_chain(certificates / "pacs.crt", certificates / "pacs.key")
        connect = AE.associate

        def secured(self: AE, addr: str, port: int, *args: Any, **kwargs: Any) -> Any:
            if port == pacs.move_port:
                kwargs["tls_args"] = (going_out, addr)
            return connect(self, addr, port, *args, **kwargs)

        monkeypatch.setattr(AE, "associate", secured)
        assert pull_series(pacs_site(**keys, **own, move=f"127.0.0.1:{pacs.move_port}")).series == 2


def test_tls_to_a_pacs_without_it_is_told(
    pacs: MadeUpPacs, start: Any, pacs_site: Any, certificates: Path, refused: Any
) -> None:
    site = pacs_site(**start(pacs), tls=True, ca_file="pacs.crt", timeout=1, retries=0)
    assert refused(site).code == "PACS-TLS"
