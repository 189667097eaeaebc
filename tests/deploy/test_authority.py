"""Certificates that TLS itself believes where it should, and nowhere else."""

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


def enrol(federation: FederationFolder, place: Path, name: str) -> tuple[Path, Path]:
    """Enrol a site, and return the files that TLS wants of it: certificate and key."""
    make_key(place / f"{name}.key")
    request = write_request(place / f"{name}.key", name, place / f"{name}.request.json")
    _, certificate = site_registry.enrol(federation, request)
    pem = load_key(place / f"{name}.key").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / f"{name}.crt").write_bytes(certificate)
    (place / f"{name}.pem").write_bytes(pem)
    return place / f"{name}.crt", place / f"{name}.pem"


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """Let both speak TLS with each other in memory, to the end of the handshake and a byte beyond."""
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


def serving(federation: FederationFolder, *, asks: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(federation.server_certificate, federation.server_key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF
        context.load_verify_locations(federation.ca_certificate)
        context.load_verify_locations(federation.crl)
    return context


def calling(federation: FederationFolder, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=federation.ca_certificate)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if identity:
        context.load_cert_chain(*identity)
    return context


@pytest.mark.parametrize("host", ["fl.example.org", "localhost", "127.0.0.1", "::1"])
def test_the_server_is_believed_under_its_published_name_and_on_loopback(federation: FederationFolder, host: str) -> None:
    shake_hands(serving(federation), calling(federation), host)


@pytest.mark.parametrize("address", ["10.1.2.3:443", "[2001:db8::5]:8443"])
def test_a_server_may_be_published_by_a_number(tmp_path: Path, address: str) -> None:
    federation = init_federation(tmp_path / "f", "a", address)
    shake_hands(serving(federation), calling(federation), address.rpartition(":")[0].strip("[]"))


def test_the_server_is_not_believed_under_another_name(federation: FederationFolder) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'fl\.example\.com'"):
        shake_hands(serving(federation), calling(federation), "fl.example.com")


def test_the_server_of_another_federation_is_not_believed(federation: FederationFolder, tmp_path: Path) -> None:
    false = init_federation(tmp_path / "false", "heart study", "fl.example.org:443")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(serving(false), calling(federation), "fl.example.org")


def test_a_site_is_believed_as_a_caller(federation: FederationFolder, tmp_path: Path) -> None:
    identity = enrol(federation, tmp_path, "a")
    shake_hands(serving(federation, asks=True), calling(federation, identity), "localhost")


def test_a_site_that_was_put_out_is_not_believed_any_more_and_the_others_are(
    federation: FederationFolder, tmp_path: Path
) -> None:
    out, other = enrol(federation, tmp_path, "a"), enrol(federation, tmp_path, "b")
    renewed = tmp_path / "a-renewed.crt"
    renewed.write_bytes(site_registry.renew(federation, "a")[1])
    site_registry.revoke(federation, "a")
    for certificate in (out[0], renewed):
        with pytest.raises(ssl.SSLError, match=r"certificate revoked|CERTIFICATE_VERIFY_FAILED"):
            shake_hands(serving(federation, asks=True), calling(federation, (certificate, out[1])), "localhost")
    shake_hands(serving(federation, asks=True), calling(federation, other), "localhost")


def test_a_site_can_not_play_the_server(federation: FederationFolder, tmp_path: Path) -> None:
    false = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    false.load_cert_chain(*enrol(federation, tmp_path, "localhost"))
    client = calling(federation)
    client.check_hostname = False  # the purpose alone must be enough
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake_hands(false, client, "localhost")


def test_the_server_can_not_play_a_site(federation: FederationFolder) -> None:
    identity = (federation.server_certificate, federation.server_key)
    with pytest.raises(ssl.SSLError, match=r"purpose|CERTIFICATE_VERIFY_FAILED"):
        shake_hands(serving(federation, asks=True), calling(federation, identity), "localhost")


def test_a_site_can_not_sign_others(federation: FederationFolder, tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(enrol(federation, tmp_path, "a")[0].read_bytes())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    purpose = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purpose) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_authority_signs_no_further_authority(federation: FederationFolder) -> None:
    own = x509.load_pem_x509_certificate(federation.ca_certificate.read_bytes())
    constraint = own.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraint.critical
    assert constraint.value == x509.BasicConstraints(ca=True, path_length=0)


def test_a_clock_that_is_some_minutes_late_refuses_nothing(federation: FederationFolder, tmp_path: Path) -> None:
    enrol(federation, tmp_path, "a")
    late = datetime.now(UTC) - timedelta(minutes=30)
    for path in (federation.ca_certificate, federation.server_certificate, tmp_path / "a.crt"):
        assert x509.load_pem_x509_certificate(path.read_bytes()).not_valid_before_utc < late
    assert x509.load_pem_x509_crl(federation.crl.read_bytes()).last_update_utc < late


def test_no_certificate_outlives_the_authority(federation: FederationFolder, tmp_path: Path) -> None:
    terms = federation.settings.identities.model_copy(update={"days": 5000})
    settings = federation.settings.model_copy(update={"identities": terms})
    enrol(FederationFolder(federation.path, settings), tmp_path, "a")
    end = x509.load_pem_x509_certificate(federation.ca_certificate.read_bytes()).not_valid_after_utc
    certificate = x509.load_pem_x509_certificate((tmp_path / "a.crt").read_bytes())
    assert certificate.not_valid_after_utc <= end
    (site,) = site_registry.list_enrolled(federation)
    assert datetime.fromisoformat(site.expires) == certificate.not_valid_after_utc


def test_an_authority_at_its_end_signs_nothing(federation: FederationFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca, "CA_DAYS", 0)
    ca.create_ca(federation.ca_certificate, federation.ca_key, "old")
    place = (federation.ca_certificate, federation.ca_key, federation.server_certificate, federation.server_key)
    before = federation.server_certificate.read_bytes()
    with pytest.raises(DeployError, match="CA-ENDED"):
        ca.issue_server_certificate(*place, "localhost:1")
    assert federation.server_certificate.read_bytes() == before


def test_a_renewed_server_has_another_key_for_its_owner_alone(federation: FederationFolder) -> None:
    before = federation.server_key.read_bytes()
    place = (federation.ca_certificate, federation.ca_key, federation.server_certificate, federation.server_key)
    ca.issue_server_certificate(*place, federation.settings.address)
    assert federation.server_key.read_bytes() != before
    assert stat.S_IMODE(federation.server_key.stat().st_mode) == 0o600
    shake_hands(serving(federation), calling(federation), "fl.example.org")


def test_each_list_of_the_withdrawn_is_newer_than_the_last(federation: FederationFolder, tmp_path: Path) -> None:
    def number() -> int:
        revoked = x509.load_pem_x509_crl(federation.crl.read_bytes())
        return revoked.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number

    first = number()
    enrol(federation, tmp_path, "a")
    site_registry.revoke(federation, "a")
    assert number() > first
