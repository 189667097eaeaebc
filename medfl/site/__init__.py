"""A hospital as its site.toml describes it: its data, its resources, and the policy that no study can loosen."""

from medfl.site.policy import MIN_NONZERO_COUNT, Policy
from medfl.site.simulated_site import SimulatedSite
from medfl.site.site import (
    CLIENT_ENTRY_POINTS,
    SITE_NAME_PATTERN,
    Resources,
    Site,
    SiteData,
    ensure_secret,
    init_site,
    read_site,
)

__all__ = [
    "CLIENT_ENTRY_POINTS",
    "MIN_NONZERO_COUNT",
    "SITE_NAME_PATTERN",
    "Policy",
    "Resources",
    "SimulatedSite",
    "Site",
    "SiteData",
    "ensure_secret",
    "init_site",
    "read_site",
]
