"""Certificate authority (CA) of a federation: it signs the certificates of the server and the sites, and revokes them.

X.509 profiles follow RFC 5280; the CA signs servers and sites and no further CA.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from medfl.errors import DeployError
from medfl.system.files import write_file, write_private

CA_DAYS, SERVER_DAYS = 3650, 365
_CLOCK_TOLERANCE = timedelta(hours=1)  # a machine whose clock is a little slow must not refuse a new certificate
_CRL_DAYS = 3650  # the list is rewritten only when an operator changes something; it must not expire between two changes
_HASH = hashes.SHA384()


def create_ca(certificate: Path, key: Path, name: str) -> None:
    """Create the CA of a federation: its private key, readable by its owner alone, and its own certificate."""
    private = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority"[:64])])
    now = datetime.now(UTC)
    signed = (
        _certificate_builder(subject, subject, private.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_others=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, _HASH)
    )
    write_private(key, _private_key_pem(private), "the key of the authority")
    write_file(certificate, signed.public_bytes(Encoding.PEM))


def issue_server_certificate(ca: Path, ca_key: Path, certificate: Path, key: Path, address: str) -> None:
    """Create a key and a certificate for the server, valid for its published host and for loopback.

    Parameters
    ----------
    ca, ca_key : Path
        Certificate and private key of the CA.
    certificate, key : Path
        Files to write.
    address : str
        host:port under which the hospitals reach the server.
    """
    private = ec.generate_private_key(ec.SECP384R1())
    host = address.rpartition(":")[0].strip("[]")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    names = dict.fromkeys((host, "localhost", "127.0.0.1", "::1"))
    signed = _sign_certificate(
        ca,
        ca_key,
        subject,
        private.public_key(),
        SERVER_DAYS,
        ExtendedKeyUsageOID.SERVER_AUTH,
        x509.SubjectAlternativeName([_general_name(n) for n in names]),
    )
    write_private(key, _private_key_pem(private), "the key of the server")
    write_file(certificate, signed.public_bytes(Encoding.PEM))


def issue_site_certificate(ca: Path, ca_key: Path, name: str, public_key: str, days: int) -> x509.Certificate:
    """Sign a certificate for the key of a site.

    Parameters
    ----------
    ca, ca_key : Path
        Certificate and private key of the CA.
    name : str
        Name of the site.
    public_key : str
        OpenSSH format.
    days : int
        Validity from now on.
    """
    public = load_ssh_public_key(public_key.encode())
    assert isinstance(public, ec.EllipticCurvePublicKey), "requests are checked before anything is signed"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _sign_certificate(ca, ca_key, subject, public, days, ExtendedKeyUsageOID.CLIENT_AUTH, None)


def write_crl(ca: Path, ca_key: Path, path: Path, revoked: Iterable[tuple[int, datetime]]) -> None:
    """Write the list of revoked certificates (CRL).

    Parameters
    ----------
    ca, ca_key : Path
        Certificate and private key of the CA.
    path : Path
        PEM file to write.
    revoked : iterable of (int, datetime)
        Serial numbers, and when each was revoked.
    """
    now = datetime.now(UTC)
    issuer, private = _load_certificate(ca), _load_key(ca_key)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - _CLOCK_TOLERANCE)
        .next_update(now + timedelta(days=_CRL_DAYS))
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1e6)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(private.public_key()), critical=False)
    )
    for serial, when in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
        builder = builder.add_revoked_certificate(entry)
    write_file(path, builder.sign(private, _HASH).public_bytes(Encoding.PEM))


def _sign_certificate(
    ca: Path,
    ca_key: Path,
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    days: int,
    purpose: x509.ObjectIdentifier,
    names: x509.SubjectAlternativeName | None,
) -> x509.Certificate:
    issuer, private = _load_certificate(ca), _load_key(ca_key)
    now = datetime.now(UTC)
    if issuer.not_valid_after_utc - now < timedelta(days=1):
        fix = "Make a new federation in another folder with 'medfl server init'; every site sends its request again."
        raise DeployError(
            "CA-ENDED", "the certificate of this federation's authority has expired, or does so within a day.", fix
        )
    days = min(days, (issuer.not_valid_after_utc - now).days)  # no certificate is trusted longer than its CA
    builder = (
        _certificate_builder(subject, issuer.subject, public, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_others=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(private.public_key()), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(private, _HASH)


def _certificate_builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_TOLERANCE)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, signs_others: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_others,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_others,
        crl_sign=signs_others,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_key_pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def ca_fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 fingerprint of a CA's certificate (PEM), for two people to compare by telephone."""
    digest = x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise DeployError("CA-MISSING", "the authority's certificate cannot be read.", "Restore it from a copy.") from None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        fix = f"Put {path.name} back for as long as you enrol, renew or revoke."
        raise DeployError("CA-MISSING", "the authority's private key is not here, or cannot be read.", fix) from None
    assert isinstance(private, ec.EllipticCurvePrivateKey), "made by create_ca"
    return private
