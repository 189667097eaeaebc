"""Check whether a site that is up is in touch with the server, by the sign of life of its SuperNode."""

from __future__ import annotations

import time

from medfl.deploy.doctor.check_result import CheckResult
from medfl.deploy.logs import read_last_words
from medfl.deploy.site_state import SUPERNODE_LOG, is_up, server_pulse
from medfl.site import Site
from medfl.system.text import format_duration


def check_presence(site: Site) -> CheckResult:
    """Check when the server last answered a site that is up."""
    if not is_up(site):
        return CheckResult("PRESENCE", "ok", "The site is not up, so no study reaches it: medfl site up.")
    pulse = server_pulse(site)
    answered = pulse.last_answer()
    if answered is not None and (silence := time.time() - answered) <= pulse.told_after:
        return CheckResult("PRESENCE", "ok", f"The site is up, and the server last answered it {format_duration(silence)} ago.")
    since = "yet" if answered is None else f"for {format_duration(time.time() - answered)}"
    words = read_last_words(site.folder / SUPERNODE_LOG)
    fix = "See the results about the server's address below; the site goes on trying by itself."
    said = f" Its last word: {words}" if words else ""
    return CheckResult("PRESENCE", "error", f"The site is up, but the server has not answered it {since}.{said}", fix)
