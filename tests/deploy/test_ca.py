"""Certificates of the authority: TLS accepts them where it should, and nowhere else."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from medfl.deploy import ca, site_registry
from medfl.deploy.federation_folder import FederationFolder, init_federation
from medfl.deploy.identity import load_key, make_key, write_request
from medfl.errors import DeployError


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    return init_federation(tmp_path / "federation", "heart study", "fl.example.org:443")


def enrol(federation: FederationFolder, folder: Path, name: str) -> tuple[Path, Path]:
    """Enrol a site, and return its files for TLS: certificate and key."""
    make_key(folder / f"{name}.key")
    request = write_request(folder / f"{name}.key", name, folder / f"{name}.request.json")
    _, certificate = site_registry.enrol(federation, request)
    pem = load_key(folder / f"{name}.key").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.crt").write_bytes(certificate)
    (folder / f"{name}.pem").write_bytes(pem)
    return folder / f"{name}.crt", folder / f"{name}.pem"


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """Do a TLS handshake in memory, and send one byte."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    sides[0].write(b"x")
    assert sides[1].read(1) == b"x"


def server_context(federation: FederationFolder, *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(federation.server_certificate, federation.server_key)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF
        context.load_verify_locations(federation.ca_certificate)
        context.load_verify_locations(federation.crl)
    return context


def client_context(federation: FederationFolder, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=federation.ca_certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if identity:
        context.load_cert_chain(*identity)
    return context


@pytest.mark.parametrize("host", ["fl.example.org", "localhost", "127.0.0.1", "::1"])
def test_the_server_is_trusted_under_its_published_name_and_on_loopback(federation: FederationFolder, host: str) -> None:
    shake_hands(server_context(federation), client_context(federation), host)


@pytest.mark.parametrize("address", ["10.1.2.3:443", "[2001:db8::5]:8443"])
def test_a_server_may_be_published_by_an_ip_address(tmp_path: Path, address: str) -> None:
    federation = init_federation(tmp_path / "f", "a", address)
    shake_hands(server_context(federation), client_context(federation), address.rpartition(":")[0].strip("[]"))


def test_the_server_is_not_trusted_under_another_name(federation: FederationFolder) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'fl\.example\.com'"):
        shake_hands(server_context(federation), client_context(federation), "fl.example.com")


def test_the_server_of_another_federation_is_not_trusted(federation: FederationFolder, tmp_path: Path) -> None:
    other = init_federation(tmp_path / "other", "heart study", "fl.example.org:443")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server_context(other), client_context(federation), "fl.example.org")


def test_a_site_is_trusted_as_a_client(federation: FederationFolder, tmp_path: Path) -> None:
    identity = enrol(federation, tmp_path, "a")
    shake_hands(server_context(federation, mutual=True), client_context(federation, identity), "localhost")


def test_a_revoked_site_is_no_longer_trusted_and_the_others_are(federation: FederationFolder, tmp_path: Path) -> None:
    out, other = enrol(federation, tmp_path, "a"), enrol(federation, tmp_path, "b")
    renewed = tmp_path / "a-renewed.crt"
    renewed.write_bytes(site_registry.renew(federation, "a")[1])
    site_registry.revoke(federation, "a")
    for certificate in (out[0], renewed):
        with pytest.raises(ssl.SSLError, match=r"certificate revoked|CERTIFICATE_VERIFY_FAILED"):
            shake_hands(server_context(federation, mutual=True), client_context(federation, (certificate, out[1])), "localhost")
    shake_hands(server_context(federation, mutual=True), client_context(federation, other), "localhost")


def test_a_site_cannot_pose_as_the_server(federation: FederationFolder, tmp_path: Path) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.load_cert_chain(*enrol(federation, tmp_path, "localhost"))
    client = client_context(federation)
    client.check_hostname = False  # the purpose alone must be enough
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake_hands(other, client, "localhost")


def test_the_server_cannot_pose_as_a_site(federation: FederationFolder) -> None:
    identity = (federation.server_certificate, federation.server_key)
    with pytest.raises(ssl.SSLError, match=r"purpose|CERTIFICATE_VERIFY_FAILED"):
        shake_hands(server_context(federation, mutual=True), client_context(federation, identity), "localhost")


def test_a_site_cannot_sign_certificates(federation: FederationFolder, tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(enrol(federation, tmp_path, "a")[0].read_bytes())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    purpose = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purpose) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_authority_signs_no_further_authority(federation: FederationFolder) -> None:
    certificate = x509.load_pem_x509_certificate(federation.ca_certificate.read_bytes())
    constraint = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraint.critical
    assert constraint.value == x509.BasicConstraints(ca=True, path_length=0)


def test_a_clock_that_is_some_minutes_slow_refuses_nothing(federation: FederationFolder, tmp_path: Path) -> None:
    enrol(federation, tmp_path, "a")
    late = datetime.now(UTC) - timedelta(minutes=30)
    for path in (federation.ca_certificate, federation.server_certificate, tmp_path / "a.crt"):
        assert x509.load_pem_x509_certificate(path.read_bytes()).not_valid_before_utc < late
    assert x509.load_pem_x509_crl(federation.crl.read_bytes()).last_update_utc < late


def test_no_certificate_outlives_the_authority(federation: FederationFolder, tmp_path: Path) -> None:
    identities = federation.settings.identities.model_copy(update={"days": 5000})
    settings = federation.settings.model_copy(update={"identities": identities})
    enrol(FederationFolder(federation.path, settings), tmp_path, "a")
    end = x509.load_pem_x509_certificate(federation.ca_certificate.read_bytes()).not_valid_after_utc
    certificate = x509.load_pem_x509_certificate((tmp_path / "a.crt").read_bytes())
    assert certificate.not_valid_after_utc <= end
    (site,) = site_registry.list_enrolled(federation)
    assert datetime.fromisoformat(site.expires) == certificate.not_valid_after_utc


def test_an_expired_authority_signs_nothing(federation: FederationFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca, "CA_DAYS", 0)
    ca.create_ca(federation.ca_certificate, federation.ca_key, "old")
    paths = (federation.ca_certificate, federation.ca_key, federation.server_certificate, federation.server_key)
    before = federation.server_certificate.read_bytes()
    with pytest.raises(DeployError, match="CA-ENDED"):
        ca.issue_server_certificate(*paths, "localhost:1")
    assert federation.server_certificate.read_bytes() == before


def test_a_renewed_server_has_a_new_private_key(federation: FederationFolder) -> None:
    before = federation.server_key.read_bytes()
    paths = (federation.ca_certificate, federation.ca_key, federation.server_certificate, federation.server_key)
    ca.issue_server_certificate(*paths, federation.settings.address)
    assert federation.server_key.read_bytes() != before
    assert stat.S_IMODE(federation.server_key.stat().st_mode) == 0o600
    shake_hands(server_context(federation), client_context(federation), "fl.example.org")


def test_each_crl_has_a_higher_number_than_the_last(federation: FederationFolder, tmp_path: Path) -> None:
    def number() -> int:
        revoked = x509.load_pem_x509_crl(federation.crl.read_bytes())
        return revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    first = number()
    enrol(federation, tmp_path, "a")
    site_registry.revoke(federation, "a")
    assert number() > first
