"""Check of a site's data, as ``medfl data check`` makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medfl.api.frames import to_frame
from medfl.data.quality.facts import SiteCheck
from medfl.report.check_cards import render_data_card
from medfl.report.disclosure import Disclosure
from medfl.site import Site
from medfl.study import Study
from medfl.study.task import Modality

if TYPE_CHECKING:
    import pandas

FINDING_COLUMNS = ("code", "level", "case", "what", "fix")

Steps = Callable[[int, int], None]  # done, in all


@dataclass(frozen=True, eq=False)
class DataCheck:
    """Which cases of a site can be used, and why others cannot. In a notebook it shows itself.

    Parameters
    ----------
    site : Site
        The site.
    study : Study or None
        The study, or the one that was inferred from the data; None when none could be.
    found : SiteCheck
        Every case with its findings, under pseudonyms.
    shared : Disclosure
        What a server would see of it.
    """

    site: Site
    study: Study | None
    found: SiteCheck
    shared: Disclosure

    @property
    def declined(self) -> str:
        """Why the site would not train, with what to do; empty if it would."""
        return self.shared.why

    @property
    def findings(self) -> pandas.DataFrame:
        """Every finding, one a row: ``code``, ``level``, ``case`` (a pseudonym, empty for the site), ``what`` and ``fix``."""
        rows = ({name: getattr(finding, name) for name in FINDING_COLUMNS} for finding in self.found.all_findings)
        return to_frame(rows, FINDING_COLUMNS)

    def as_json(self) -> dict[str, Any]:
        """Return the check for JSON, without path, patient id or date."""
        from medfl.report.quality_json import check_to_json

        return check_to_json(self.found, self.shared)

    def __str__(self) -> str:
        return f"{self.found.site}: {self.found.summary()}"

    def __repr__(self) -> str:  # kept in a notebook: no folder, and no case
        return f"<DataCheck {self}>"

    def _repr_html_(self) -> str:
        return render_data_card(self.found, self.shared)


def check_data(
    site: Site,
    study: Study | None = None,
    *,
    fast: bool = False,
    previews: int = 0,
    workers: int = 0,
    indexing: Steps | None = None,
    progress: Steps | None = None,
    modality: Modality | None = None,
) -> DataCheck:
    """Check the data of a site; the parameters are those of `medfl.data.quality.site_check.check_site`."""
    from medfl.data.quality.site_check import check_site
    from medfl.report.disclosure import preview_disclosure

    found, study = check_site(
        site,
        study,
        fast=fast,
        previews=previews,
        workers=workers,
        indexing=indexing,
        progress=progress,
        modality=modality,
    )
    return DataCheck(site, study, found, preview_disclosure(found, study, site))
