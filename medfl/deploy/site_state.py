"""What a running site keeps beside its site.toml: where it lies, whether it is up, and when the server last answered it."""

from __future__ import annotations

from pathlib import Path

from medfl.deploy.pulse import Pulse
from medfl.site import Site
from medfl.system.locks import take_lock

STATE_FOLDER = Path(".medfl")
LOCK_FILE = STATE_FOLDER / "up.lock"  # held while the site is up
SUPERNODE_LOG = STATE_FOLDER / "logs" / "supernode.log"
_SIGN_FILE = STATE_FOLDER / "answered"  # its time of change is that of the server's last answer
_ACTIVITY_FILE = STATE_FOLDER / "answered.tried"  # and when the SuperNode last asked it for something, answered or not

# seconds; an idle SuperNode asks every second, and one that receives a model sends a heartbeat every half minute
_TOLD_AFTER, _LOST_AFTER = 120.0, 900.0


def server_pulse(site: Site) -> Pulse:
    """Return how the sign of life of a site's SuperNode is read."""
    return Pulse(site.folder / _SIGN_FILE, "The server", _TOLD_AFTER, _LOST_AFTER, site.folder / _ACTIVITY_FILE)


def is_up(site: Site) -> bool:
    """Return whether `medfl site up` is running for a site."""
    try:
        with (site.folder / LOCK_FILE).open() as lock:
            return not take_lock(lock, shared=True)
    except OSError:
        return False
