"""A hospital as its site.toml describes it: where the data is, what may be used, and the policy that nobody can loosen."""

from medfl.site.policy import LEAST_COUNT, Policy
from medfl.site.site import EXTENSIONS, NAME, Resources, Site, SiteData, ensure_secret, init_site, read_site

__all__ = [
    "EXTENSIONS",
    "LEAST_COUNT",
    "NAME",
    "Policy",
    "Resources",
    "Site",
    "SiteData",
    "ensure_secret",
    "init_site",
    "read_site",
]
