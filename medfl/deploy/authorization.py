"""Authorization of a message at a site, decided from the bytes of its bundle before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping

from medfl.deploy.approvals import require_approved
from medfl.deploy.untrusted_bundle import read_bundle, read_untrusted_study, sanitize
from medfl.errors import PolicyError
from medfl.privacy.policy_checks import check_study
from medfl.site import Site
from medfl.study import Study
from medfl.study.study_file import Scalar

_SERVER_PREFIX = "server."  # keys that a site neither reads nor approves


def authorize(bundle: bytes, run_config: Mapping[str, Scalar], site: Site) -> Study:
    """Decide whether the study that a message belongs to may run here.

    Parameters
    ----------
    bundle : bytes
        Bundle as the server sent it.
    run_config : mapping
        Flat configuration of the run: the bundle's, with the overrides of whoever submitted it.
    site : Site
        Its approvals and its policy decide.

    Returns
    -------
    Study
        The study that may run.

    Raises
    ------
    PolicyError
        If the bundle is refused, with the first reason; nothing of the bundle was used then.
    ConfigError
        When the configuration is not a valid study.
    """
    bundled = read_bundle(bundle).config
    changed = {key for key in bundled.keys() | run_config.keys() if not _has_same_value(bundled, run_config, key)}
    forbidden = sorted(key for key in changed if not key.startswith(_SERVER_PREFIX))
    if forbidden:
        what = f"the run changes keys of the study that this site approved: {sanitize(', '.join(forbidden))}."
        raise PolicyError("OVERRIDE-REFUSED", what, "Ask for a bundle with these values in it, and approve that.")
    study = read_untrusted_study(run_config)
    require_approved(site, study)
    check_study(study, site.policy)
    return study


def without_server_keys(run_config: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the configuration of a run without what the server alone reads, so that nothing at a site can depend on it."""
    return {key: value for key, value in run_config.items() if not key.startswith(_SERVER_PREFIX)}


def _has_same_value(one: Mapping[str, Scalar], other: Mapping[str, Scalar], key: str) -> bool:
    """Say whether both hold a key with the same value of the same type: to Python, 1, True and 1.0 are equal."""
    return key in one and key in other and one[key] == other[key] and type(one[key]) is type(other[key])
