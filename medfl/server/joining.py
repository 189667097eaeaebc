"""Start of a run: the server waits for the sites, asks each who it is, and records who joined and who is missing."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from medfl.data.simulated_sites import read_simulated_sites
from medfl.errors import QuorumError, explain_reason, fixes_of
from medfl.messages.exchange import NOT_CONNECTED
from medfl.runs.run_folder import Run
from medfl.server.federation import Federation, record_waiting
from medfl.server.site_joiner import SiteJoiner
from medfl.study import Study, StudyApp
from medfl.study.external_hospitals import check_external
from medfl.system.text import join_names

_POLL = 0.2  # seconds between two looks for further nodes


def join_sites(
    grid: Grid,
    run: Run,
    expected: int,
    layout: str,
    sites: dict[int, str] | None = None,
    start: ArrayRecord | None = None,
) -> Federation:
    """Wait for the sites, ask each who it is, and record what each brings and who is missing.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    run : Run
        Names the study; its history gets the events.
    expected : int
        Nodes to wait for, at most for the time that the study allows; see `count_expected_sites`.
    layout : str
        Hash of the model (`records.model_hash`); a site whose network differs cannot take part.
    sites : dict of int to str, optional
        The mapping to which the name of the site behind each node is added; a new one unless given.
    start : ArrayRecord, optional
        The whole first model, of a study that sends it as sites join.

    Returns
    -------
    Federation

    Raises
    ------
    QuorumError
        ``TOO-FEW-SITES`` when fewer sites than the quorum joined, or an external hospital did not; it names the missing ones.
        ``SITE-TWICE`` when two nodes give one name.
    ConfigError
        When more hospitals joined than each of them approved (`Study.check_sites`).
    """
    study, enrolled = run.study, run.app.server.enrolled
    if enrolled and len(list(grid.get_node_ids())) < expected:
        unseen = set(enrolled) - {info.name for info in grid.get_nodes()}
        record_waiting(run, "join", unseen, study.strategy.wait)
    nodes = wait_for_nodes(grid, expected, study.strategy.wait)
    external: dict[int, str] = {}
    joiner = SiteJoiner(grid, run, layout, start, external)
    federation = Federation(grid, run, {} if sites is None else sites, joiner, external)
    joiner.query(nodes)
    joiner.wait_for_replies(study.strategy.deadline, federation.sites)
    missing = sorted(set(enrolled) - set(federation.sites.values()))
    for site in (site for site in missing if site not in joiner.refused):
        run.history.append({"event": "absent", "site": site, "during": "join", "reason": NOT_CONNECTED})
    if enrolled:
        study.check_sites(len(federation.sites))
    joiner.has_started = True
    _check_external(study, external.values(), joiner.refused)
    if len(federation.sites) < federation.quorum:
        reasons = dict.fromkeys(missing, NOT_CONNECTED) | joiner.refused
        alike: dict[str, list[str]] = {}  # a reason is said once, after all whom it concerns
        for site, reason in sorted(reasons.items()):
            alike.setdefault(explain_reason(reason).removesuffix("."), []).append(site)
        names = "; ".join(f"{join_names(sites)}, {reason}" for reason, sites in alike.items())
        has_counted = enrolled and federation.sites
        wanted = max(expected, len(nodes)) - len(external)
        resume = "'medfl resume' goes on with this run then, and counts as no further one." if has_counted else ""
        raise QuorumError(
            "TOO-FEW-SITES",
            f"{len(federation.sites)} of {wanted} sites can take part; {federation.quorum} are needed."
            f"{f' Missing: {names}.' if names else ''}",
            " ".join(filter(None, (fixes_of(reasons.values()), resume, "With strategy.quorum a study can ask for fewer."))),
        )
    return federation


def _check_external(study: Study, joined: Collection[str], refused: Mapping[str, str]) -> None:
    """Raise ``TOO-FEW-SITES`` when an external hospital cannot be tested: the run would not be what the study says."""
    if missing := sorted(set(study.evaluation.external) - set(joined)):
        reasons = {site: refused.get(site, NOT_CONNECTED) for site in missing}
        told = "; ".join(f"{site}, {explain_reason(reason).removesuffix('.')}" for site, reason in reasons.items())
        fixes = fixes_of(reasons.values())
        raise QuorumError("TOO-FEW-SITES", f"external hospitals cannot be tested: {told}.", f"{fixes} Or name others.".strip())


def count_expected_sites(app: StudyApp) -> int:
    """Return how many sites are waited for before the first round: all of a simulation, or as study and server say."""
    if app.simulated_sites:
        return len(app.simulated_sites)
    return max(app.study.strategy.sites or len(app.server.enrolled), app.quorum)


def with_simulated_sites(app: StudyApp) -> StudyApp:
    """Return a configuration that knows which hospitals it simulates, for the quorum of its rounds.

    Raises
    ------
    ConfigError
        When they are real, and the study asks for what only a simulation can do; when an external one is not in the data.
    """
    if not app.is_simulation:
        app.study.check_real()
        return app
    names = tuple(site.name for site in read_simulated_sites(app.simulation))
    check_external(app.study, names)
    return replace(app, simulated_sites=names)


def wait_for_nodes(grid: Grid, expected: int, seconds: float) -> list[int]:
    """Wait until so many nodes are connected, or the time is over, and return those that are."""
    end = time.monotonic() + seconds
    nodes = sorted(grid.get_node_ids())
    while len(nodes) < expected and time.monotonic() < end:
        time.sleep(_POLL)
        nodes = sorted(grid.get_node_ids())
    return nodes
