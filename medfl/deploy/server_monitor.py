"""Monitor of a running server: its proxy, the sites that may take part, and certificates that are about to expire."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Callable, Iterable

import psutil

from medfl.deploy.database_watch import DatabaseWatch
from medfl.deploy.doctor.certificate_checks import check_certificate
from medfl.deploy.doctor.connection_checks import check_connection
from medfl.deploy.failure_watch import FailureWatch
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.nodes import forget_stale_nodes, reconcile, unregister_unknown_nodes
from medfl.deploy.site_registry import list_enrolled
from medfl.errors import DeployError, MedflError

_WILDCARD_HOSTS = ("", "0.0.0.0", "[::]")


class ServerMonitor:
    """Watches over a running server.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    notify : callable
        Gets a line for a person when something is new.
    """

    def __init__(self, folder: FederationFolder, notify: Callable[[str], None]) -> None:
        self._folder, self._notify = folder, notify
        self._crl_mtime = _crl_mtime(folder)
        self._warned: set[str] = set()
        self._problems: set[str] = set()
        self._failures = FailureWatch(folder, notify)
        self._database = DatabaseWatch(folder, notify)

    def start(self) -> None:
        """Check the proxy as a caller sees it, register the sites, and report what is up and where.

        Raises
        ------
        DeployError
            If the proxy has a problem; ``EXPOSED`` when more than the hospitals' part can be reached through it.
        """
        self._require_proxy()
        forget_stale_nodes(self._folder)
        self.check()
        if not self._problems:
            unregister_unknown_nodes(self._folder)
        settings, folder = self._folder.settings, self._folder.path
        mutual_tls = "; asks every caller for a certificate" if settings.proxy.client_certificates else ""
        self._notify(f"The server of {settings.name} is up; Ctrl-C ends it.")
        self._notify(f"  hospitals reach it at  {settings.address} (nginx, listening on {settings.proxy.listen}{mutual_tls})")
        self._notify(f"  Flower's own server    127.0.0.1:{settings.superlink.port} (for this machine only)")
        self._notify(f"  may take part          {self._format_active_sites()}")
        if settings.monitor.listen:
            self._notify(f"  health and metrics     http://{settings.monitor.listen}/health, /metrics (for this machine only)")
        self._notify(f"  runs and logs          {folder / 'runs'}, {folder / 'logs'}")

    def check(self) -> None:
        """Follow the list of enrolled sites, and warn of what expires soon; a problem is reported once, and never raised."""
        jobs = (self._reconcile, self._reload_crl, self._warn_of_expiry, self._failures.check, self._database.check)
        problems = {problem for job in jobs for problem in _problems_of(job)}  # one that fails does not keep the others
        for problem in sorted(problems - self._problems):
            self._notify(problem)
        self._problems = problems

    def _reconcile(self) -> list[str]:
        return [str(error) for error in reconcile(self._folder, self._notify)]

    def _require_proxy(self) -> None:
        settings = self._folder.settings
        host, _, port = settings.proxy.listen.rpartition(":")
        address = f"{'127.0.0.1' if host in _WILDCARD_HOSTS else host}:{port}"
        for result in check_connection(address, self._folder.ca_certificate, name="localhost"):
            # the server itself has no site's certificate to show
            is_expected = result.code == "FLEET" and settings.proxy.client_certificates
            if result.level == "error" and not is_expected:
                raise DeployError(result.code, result.what, result.fix)

    def _format_active_sites(self) -> str:
        names = [site.name for site in list_enrolled(self._folder) if site.state() in ("valid", "expiring")]
        return ", ".join(names) or "nobody yet: medfl server enrol NAME.request.json"

    def _reload_crl(self) -> None:
        """Let nginx read the list of revoked certificates again when it has changed."""
        if (mtime := _crl_mtime(self._folder)) == self._crl_mtime:
            return
        self._crl_mtime = mtime
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
            process = psutil.Process(int((self._folder.path / "proxy" / "nginx.pid").read_text()))
            if process.name() == "nginx":
                process.send_signal(signal.SIGHUP)

    def _warn_of_expiry(self) -> None:
        for site in list_enrolled(self._folder):
            if site.state() in ("expiring", "expired"):
                self._notify_once(f"{site.name} is enrolled until {site.expires[:10]}: medfl server renew {site.name}.")
        renew = "Make a new one, 'medfl server renew --server', and start the server again."
        replace = "It cannot be renewed: make a new federation before that day."
        for result in (
            check_certificate(self._folder.server_certificate, "the certificate of the server", renew),
            check_certificate(self._folder.ca_certificate, "the certificate of the authority", replace),
        ):
            if result.level != "ok":
                self._notify_once(f"{result.what} {result.fix}")

    def _notify_once(self, warning: str) -> None:
        if warning not in self._warned:
            self._warned.add(warning)
            self._notify(warning)


def _crl_mtime(folder: FederationFolder) -> int:
    try:
        return folder.crl.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _problems_of(job: Callable[[], Iterable[str] | None]) -> set[str]:
    """Do one of the monitor's jobs, and return what failed."""
    try:
        return set(job() or ())
    except (MedflError, OSError, ValueError) as error:
        return {str(error)}
    except sqlite3.Error as error:
        return {f"Flower's database, superlink/state.db, cannot be pruned: {error}."}
