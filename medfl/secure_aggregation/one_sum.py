"""One sum for one model: a site helps to open at most one sum of updates of a model, whatever study, run, round or attempt.

Each sum is opened by more than half of its sites, each of which opens no other one. So no sum of one model can be taken from
another one, nor any combination of several, so that a single update is left: see the decision on secure aggregation.
"""

from __future__ import annotations

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.site_state import Release
from medfl.secure_aggregation.site_store import SiteStore


def require_unopened(store: SiteStore, model: str) -> None:
    """Refuse a model of which the site helped to open a sum: ``SECAGG-ONE-SUM``."""
    if store.load_release(model) is not None:
        raise _refuse()


def record_release(store: SiteStore, model: str, release: Release) -> None:
    """Note for good that a sum of a model is opened, before any share of it leaves.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-ONE-SUM`` when another sum of it was opened before.
    """
    try:
        store.save_release(model, release.to_json())
    except FileExistsError:
        if Release.from_json(store.load_release(model) or b"") != release:
            raise _refuse() from None


def _refuse() -> SecureAggregationError:
    what = "a sum of updates of this model was opened with this site's help, and a second one could show a single update."
    return SecureAggregationError("SECAGG-ONE-SUM", what, "Go on from a newer model, or begin with another seed.")
