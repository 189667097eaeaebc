"""What is looked after while a server runs: its door, who may take part, and what is about to end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable

import psutil

from medfl.deploy.doctor.certificate_checks import check_certificate
from medfl.deploy.doctor.connection_checks import check_connection
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.nodes import forget_stale_nodes, reconcile, unregister_unknown_nodes
from medfl.deploy.site_registry import list_enrolled
from medfl.errors import DeployError, MedflError

_WILDCARD_HOSTS = ("", "0.0.0.0", "[::]")


class ServerMonitor:
    """Looks after a server that runs.

    Parameters
    ----------
    folder : FederationFolder
        Of the server.
    tell : callable
        Gets a line for a person when something is new.
    """

    def __init__(self, folder: FederationFolder, tell: Callable[[str], None]) -> None:
        self._folder, self._tell = folder, tell
        self._crl = _crl_mtime(folder)
        self._warned: set[str] = set()
        self._wrong: set[str] = set()

    def start(self) -> None:
        """Check the door from outside, let the sites in, and say what is up and where.

        Raises
        ------
        DeployError
            With what is wrong with the door, ``EXPOSED`` when more than the hospitals' part is reached through it.
        """
        self._require_proxy()
        forget_stale_nodes(self._folder)
        self.check()
        if not self._wrong:
            unregister_unknown_nodes(self._folder)
        settings, folder = self._folder.settings, self._folder.path
        asks = "; asks every caller for a certificate" if settings.proxy.client_certificates else ""
        self._tell(f"The server of {settings.name} is up; Ctrl-C ends it.")
        self._tell(f"  hospitals reach it at  {settings.address} (nginx, listening on {settings.proxy.listen}{asks})")
        self._tell(f"  Flower's own server    127.0.0.1:{settings.superlink.port} (for this machine only)")
        self._tell(f"  may take part          {self._format_active_sites()}")
        self._tell(f"  runs and logs          {folder / 'runs'}, {folder / 'logs'}")

    def check(self) -> None:
        """Follow the list of who is enrolled, and warn of what ends soon; trouble is told once, and never raised."""
        try:
            wrong = {str(error) for error in reconcile(self._folder, self._tell)}
            self._reload_crl()
            self._warn_of_expiry()
        except (MedflError, OSError, ValueError) as error:
            wrong = {str(error)}
        for line in sorted(wrong - self._wrong):
            self._tell(line)
        self._wrong = wrong

    def _require_proxy(self) -> None:
        settings = self._folder.settings
        host, _, port = settings.proxy.listen.rpartition(":")
        here = f"{'127.0.0.1' if host in _WILDCARD_HOSTS else host}:{port}"
        for finding in check_connection(here, self._folder.ca_certificate, name="localhost"):
            asks = finding.code == "FLEET" and settings.proxy.client_certificates  # nothing here has a certificate to show
            if finding.level == "error" and not asks:
                raise DeployError(finding.code, finding.what, finding.fix)

    def _format_active_sites(self) -> str:
        names = [site.name for site in list_enrolled(self._folder) if site.state() in ("valid", "expiring")]
        return ", ".join(names) or "nobody yet: medfl server enrol NAME.request.json"

    def _reload_crl(self) -> None:
        """Let nginx read its list of certificates again when that has changed."""
        if (stamp := _crl_mtime(self._folder)) == self._crl:
            return
        self._crl = stamp
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
            process = psutil.Process(int((self._folder.path / "proxy" / "nginx.pid").read_text()))
            if process.name() == "nginx":
                process.send_signal(signal.SIGHUP)

    def _warn_of_expiry(self) -> None:
        for site in list_enrolled(self._folder):
            if site.state() in ("expiring", "expired"):
                self._tell_once(f"{site.name} belongs until {site.expires[:10]}: medfl server renew {site.name}.")
        renew = "Make a new one, 'medfl server renew --server', and start the server again."
        anew = "It cannot be renewed: make a new federation before that day."
        for found in (
            check_certificate(self._folder.server_certificate, "the certificate of the server", renew),
            check_certificate(self._folder.ca_certificate, "the certificate of the authority", anew),
        ):
            if found.level != "ok":
                self._tell_once(f"{found.what} {found.fix}")

    def _tell_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            self._tell(line)


def _crl_mtime(folder: FederationFolder) -> int:
    try:
        return folder.crl.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
