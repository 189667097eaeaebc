"""The gate of a site: whether a message may be answered, decided from the bundle's bytes, before anything of it is used."""

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
    """Decide about the study that a message belongs to.

    Parameters
    ----------
    bundle : bytes
        As the server sent it.
    run_config : mapping
        Flat configuration that the answer would be given by: the bundle's, with what the submitter of the run changed.
    site : Site
        On whose terms.

    Returns
    -------
    Study
        What may be done.

    Raises
    ------
    PolicyError
        With the first reason why not; nothing of the bundle was used then.
    ConfigError
        When the configuration is no study.
    """
    own = read_bundle(bundle).config
    changed = {key for key in own.keys() | run_config.keys() if not _has_same_value(own, run_config, key)}
    foreign = sorted(key for key in changed if not key.startswith(_SERVER_PREFIX))
    if foreign:
        what = f"the run changes keys of the study that this site approved: {sanitize(', '.join(foreign))}."
        raise PolicyError("OVERRIDE-REFUSED", what, "Ask for a bundle with these values in it, and approve that.")
    study = read_untrusted_study(run_config)
    require_approved(site, study)
    check_study(study, site.policy)
    return study


def _has_same_value(own: Mapping[str, Scalar], other: Mapping[str, Scalar], key: str) -> bool:
    """Say whether both hold a key with the same value; for Python alone, 1 and True and 1.0 are equal."""
    return key in own and key in other and own[key] == other[key] and type(own[key]) is type(other[key])
