"""Simulated sites: which hospitals the data folders of a simulation stand for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from medfl.data.layouts.csv import index_name
from medfl.data.layouts.row_conditions import count_unmet_values, filter_rows
from medfl.data.layouts.table import Table, fill_pattern, get_column, read_table
from medfl.data.spelling import fold_id
from medfl.data.store.cache_folder import default_store_root
from medfl.errors import ConfigError, DataError, Problem
from medfl.site import CLIENT_ENTRY_POINTS, Policy, Resources, SimulatedSite, Site, SiteData, ensure_secret, read_site
from medfl.study import Simulation
from medfl.study.study_file import STUDY_FILE

SECRET_FILE = "secret"


def join_folders(folders: Sequence[Path]) -> str:
    """Return the value of ``simulation.data`` for some folders.

    Raises
    ------
    ConfigError
        When there is a comma in a path: a study separates folders by commas.
    """
    paths = [str(folder.resolve()) for folder in folders]
    if with_comma := [path for path in paths if "," in path]:
        what = "there is a comma in this path, which separates folders in a study."
        fix = "For several folders, write --data before each. Rename a folder whose own name has a comma."
        raise ConfigError([Problem("--data", path, what, fix) for path in with_comma])
    return ",".join(paths)


def read_simulated_sites(simulation: Simulation) -> tuple[Site, ...]:
    """Return the sites that the data folders of a simulation stand for.

    The site at index k answers for the node that Flower configures with ``partition-id`` k.

    Parameters
    ----------
    simulation : Simulation
        Says where the data lies and how it is cut.

    Returns
    -------
    tuple of Site
        Sorted by name.

    Raises
    ------
    ConfigError
        When a folder is not given, not absolute or not there, or two sites would have one name.
    DataError
        ``INDEX-*`` when sites are to be read from a column and the index does not give it, ``SPLIT-LEAK`` when that column puts
        a patient into two sites: one could then train with a patient whom the other tests with.
    """
    if not simulation.data:
        raise _config_error("simulation.data", "no folder is given.", "Give the absolute folder of the data.")
    secret = _store_root(simulation) / SECRET_FILE
    sites: list[Site] = []
    for text in simulation.data:
        folder = Path(text)
        if not folder.is_absolute() or not folder.is_dir():
            raise _config_error("simulation.data", f"there is no folder {text!r}.", "Give an absolute folder that exists.")
        sites += _partition_folder(folder, simulation, secret)
    names = [site.name for site in sites]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise _config_error(
            "simulation.data", f"several sites have the name {', '.join(twice)}.", "Rename the folders or the values."
        )
    try:
        ensure_secret(secret)
    except OSError as error:
        what = f"the store of the simulation cannot be written ({type(error).__name__})."
        fix = "Set MEDFL_STORE, or 'simulation.store' of the study, to a folder that you may write to."
        raise DataError("STORE-UNWRITABLE", what, fix) from None
    return _with_scanners(sorted(sites, key=lambda site: site.name), simulation)


def _partition_folder(folder: Path, simulation: Simulation, secret: Path) -> Iterator[Site]:
    if simulation.partition == "auto":
        files = [folder / "site.toml"] if (folder / "site.toml").is_file() else sorted(folder.glob("*/site.toml"))
        if files:
            yield from (_adapt_site(read_site(file), simulation.store, secret) for file in files)
            return
    policy = _simulation_policy()  # once: it looks through all that is installed
    data = SiteData(image=simulation.image, label=simulation.label, patient=simulation.patient, where=simulation.where)
    if simulation.partition == "column":
        index = folder / index_name(make_site(folder.name, folder, data, simulation.store, secret, policy))
        if len(simulation.data) == 1:  # of several folders each may lack what another has
            _refuse_unmet_values(index, simulation.where)
        for value in _site_values(index, data, simulation.column):
            condition = ";".join(filter(None, (simulation.where, f"{simulation.column}={value}")))
            yield make_site(value, folder, data.model_copy(update={"where": condition}), simulation.store, secret, policy)
    elif simulation.site_count:
        digits = len(str(simulation.site_count))
        for number in range(simulation.site_count):
            site = make_site(f"{folder.name}-{number + 1:0{digits}d}", folder, data, simulation.store, secret, policy)
            yield site.model_copy(update={"simulated": SimulatedSite(simulation=simulation, number=number)})
    else:
        yield make_site(folder.name, folder, data, simulation.store, secret, policy)


def _refuse_unmet_values(index: Path, where: str) -> None:
    if count := count_unmet_values(read_table(index), where):
        what = f"{count} value(s) of simulation.where stand in no row of the index, so a hospital may be missing."
        raise DataError("INDEX-WHERE", what, "Correct the spelling, or leave them out.")


def _site_values(index: Path, data: SiteData, column: str) -> list[str]:
    table = filter_rows(read_table(index), data.where)
    values = sorted({value for value in get_column(table, column) if value})
    if not values:
        raise DataError("INDEX-COLUMN", f"the column {column!r} is empty.", "Name the column that tells the sites.")
    if any(sign in value for value in values for sign in ";|"):
        raise DataError("INDEX-COLUMN", f"a value of the column {column!r} holds ';' or '|'.", "Use plain names for the sites.")
    if len({fold_id(value) for value in values}) < len(values):
        what = f"values of the column {column!r} differ only in case, blanks, leading zeros or '.0': one site, or two?"
        raise DataError("INDEX-COLUMN", what, "Write the name of each site in one way.")
    if data.patient:
        _check_patients(table, data.patient, column)
    return values


def _check_patients(table: Table, patient: str, column: str) -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for person, value in zip(
        fill_pattern(table, patient, what="patient", section="simulation"), get_column(table, column), strict=True
    ):
        homes[person] |= {value} if person and value else set()
    torn = sum(len(values) > 1 for values in homes.values())
    if torn:
        what = f"the column {column!r} puts {torn} patient(s) into more than one site."
        raise DataError("SPLIT-LEAK", what, "Name a column that keeps every patient at one site.")


def make_site(name: str, folder: Path, data: SiteData, store: str, secret: Path, policy: Policy | None = None) -> Site:
    """Make a site of a folder of data without a site.toml, as it stands for a hospital on this one machine.

    Parameters
    ----------
    name : str
        What to call it; letters that no site's name may hold are replaced.
    folder : Path
        The data.
    data : SiteData
        How it is read.
    store : str
        Folder of prepared data; empty: the usual one.
    secret : Path
        File of the secret that keys pseudonyms.
    policy : Policy, optional
        That of a simulation, which lets out everything, unless given.

    Raises
    ------
    ConfigError
        When nothing of the name can be used.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-._")[:64]
    if not plain:
        raise _config_error(
            "simulation", "the name of a folder or value has no letter or digit to call a site by.", "Rename it."
        )
    return Site(
        name=plain,
        secret_file=str(secret),
        data=data,
        policy=policy or _simulation_policy(),
        resources=Resources(store=store),
        folder=folder.resolve(),
    )


def _simulation_policy() -> Policy:
    """Return the policy of a simulation: nothing leaves the machine, and who simulates has installed what is installed."""
    installed = sorted({point.name for point in entry_points(group=CLIENT_ENTRY_POINTS)})
    return Policy(min_count=0, min_cases=1, max_excluded=1.0, previews=True, scores="exact", extensions=tuple(installed))


def _with_scanners(sites: Sequence[Site], simulation: Simulation) -> tuple[Site, ...]:
    """Return the sites of a simulation; those that it gives a scanner of their own know it."""
    if not simulation.scanner_strengths:
        return tuple(sites)
    names = [site.name for site in sites]
    chosen = simulation.choose_sites("scanner-sites", names) if simulation.scanner_sites else frozenset(names)

    def adapt(site: Site) -> Site:
        simulated = site.simulated or SimulatedSite(simulation=simulation)
        return site.model_copy(update={"simulated": simulated.model_copy(update={"own_scanner": True})})

    return tuple(adapt(site) if site.name in chosen else site for site in sites)


def _adapt_site(site: Site, store: str, secret: Path) -> Site:
    update: dict[str, object] = {}
    if not (site.folder / site.secret_file).is_file():
        update["secret_file"] = str(secret)  # a secret is never written into a folder of data
    if store:
        update["resources"] = site.resources.model_copy(update={"store": store})
    return site.model_copy(update=update)


def _store_root(simulation: Simulation) -> Path:
    return Path(simulation.store).expanduser() if simulation.store else default_store_root()


def _config_error(key: str, what: str, fix: str) -> ConfigError:
    return ConfigError([Problem(STUDY_FILE, key, what, fix)])
