"""User, password and certificates for a PACS, read when they are needed and stored nowhere."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

from medfl.data.pacs.pacs_errors import pacs_error
from medfl.site.pacs import Pacs


def read_login(pacs: Pacs, folder: Path) -> tuple[str, str] | None:
    """Return user and password, or None for a PACS without a login.

    Parameters
    ----------
    pacs : Pacs
        Names the environment variables, or the file.
    folder : Path
        Folder that the file's path is relative to.

    Raises
    ------
    DataError
        ``PACS-CREDENTIALS`` when a variable is not set, or the file is missing, too short or readable by others.
    """
    if pacs.user_env:
        user, password = os.environ.get(pacs.user_env, ""), os.environ.get(pacs.password_env, "")
        if not (user and password):
            raise pacs_error("PACS-CREDENTIALS", "an environment variable that user-env or password-env names is not set")
        return user, password
    return _read_credentials_file(folder / pacs.credentials_file) if pacs.credentials_file else None


def _read_credentials_file(path: Path) -> tuple[str, str]:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        raise pacs_error("PACS-CREDENTIALS", "the credentials-file cannot be read") from None
    if stat.S_IMODE(mode) & 0o077:
        raise pacs_error("PACS-CREDENTIALS", "other users can read the credentials-file: give it mode 0600 (chmod 600)")
    if len(lines) < 2 or not (lines[0] and lines[1]):
        raise pacs_error(
            "PACS-CREDENTIALS", "the credentials-file needs the user on its first line and the password on its second"
        )
    return lines[0], lines[1]


def certificates(pacs: Pacs, folder: Path) -> tuple[str, tuple[str, str] | None]:
    """Return the paths of the CA file and of medfl's own certificate and key; empty and None where the site names none.

    Raises
    ------
    DataError
        ``PACS-TLS`` when one of them does not exist.
    """
    for name in (pacs.ca_file, pacs.cert_file, pacs.key_file):
        if name and not (folder / name).is_file():
            raise pacs_error("PACS-TLS", "a file that ca-file, cert-file or key-file names does not exist")
    certificate = (str(folder / pacs.cert_file), str(folder / pacs.key_file)) if pacs.cert_file else None
    return (str(folder / pacs.ca_file) if pacs.ca_file else ""), certificate


def tls_context(pacs: Pacs, folder: Path, *, server: bool = False) -> ssl.SSLContext:
    """Return the TLS settings for the PACS; its certificate is always checked.

    Parameters
    ----------
    pacs : Pacs
        Names the certificates.
    folder : Path
        Folder that their paths are relative to.
    server : bool
        Whether the PACS opens the connection (C-MOVE); with a ca-file it must then present a certificate too.

    Raises
    ------
    DataError
        ``PACS-TLS`` when a file is missing or is not a certificate.
    """
    ca_file, certificate = certificates(pacs, folder)
    try:
        purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
        context = ssl.create_default_context(purpose, cafile=ca_file or None)
        if certificate:
            context.load_cert_chain(*certificate)
    except (OSError, ssl.SSLError):
        raise pacs_error(
            "PACS-TLS", "a certificate or key file is damaged or protected by a password, or the two do not match"
        ) from None
    if server and ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
