"""Models of a run: which arrays belong to each, and where they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, get_args

from medfl.clients.personal_model import load_personal_model
from medfl.clients.training.client_state import ClientState, state_folder
from medfl.clients.training.local_layers import complete_model
from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.store.cache_key import site_root
from medfl.errors import ConfigError, RunError
from medfl.messages.models import Tensors
from medfl.runs import checkpoint_files
from medfl.runs.checkpoint_files import Checkpoint
from medfl.runs.low_rank_arrays import merge_low_rank
from medfl.runs.run_folder import Run
from medfl.server.checkpoints import SHARED, checkpoint_name, list_saved_rounds, whole_model
from medfl.study.arms import OWN_MODEL_ARMS
from medfl.system.text import join_words

Which = Literal["best", "final"]

_AFTER_ALL_ROUNDS = sys.maxsize  # the newest of what a site has saved: the test of the run may have fine-tuned it


def find_arrays(run: Run, arm: str, site: str | None, which: Which) -> Tensors:
    """Return the tensors of a model of a run, in the order of the network; see `medfl.api.OpenRun.model`.

    Raises
    ------
    RunError
        ``RUN-MODEL`` when there is no such model, with the reason; ``CHECKPOINT-DAMAGED``.
    """
    if which not in get_args(Which):
        raise _no_such_model(f"'which' came as {which!r}.", "Take 'best' or 'final'.")
    arms = run.study.arms
    if arm not in arms:
        raise _no_such_model(f"the run has no arm {arm!r}.", f"Name one that it has: {join_words(arms)}.")
    if arm in OWN_MODEL_ARMS:
        return _load_own(run, arm, site, which)
    if arm == "ensemble":
        raise _no_such_model("the arm 'ensemble' has no model of its own.", "Name the arm 'local' and a site.")
    if arm == "pooled":
        return _load_pooled(run, site, which)
    if site is not None:
        return _load_personal(run, site, which)
    if run.study.local_layers:
        what = f"layers ({join_words(run.study.local_layers)}) stay at the sites, so the shared model is not whole."
        raise _no_such_model(what, "Name the site whose layers complete it, as model(site=...).")
    return _load_shared(run, which).arrays


def _load_own(run: Run, arm: str, site: str | None, which: Which) -> Tensors:
    events = run.history.read()
    sites = sorted({str(e["site"]) for e in events if e["event"] == "joined" and not e.get("external")})
    if site not in sites:
        what = f"every site has a model of its own in the arm {arm!r}." if site is None else f"no site {site!r} took part."
        raise _no_such_model(what, f"Name one of the sites: {join_words(sites)}.")
    chosen = {str(e["model"]["site"]): int(e["model"]["round"]) for e in events if e["event"] == "test" and e["arm"] == arm}
    if which == "best" and site not in chosen:
        raise _not_chosen()
    saved = list_saved_rounds(run.checkpoints, arm, site)
    if not saved:
        raise _no_such_model(f"no round of {site!r} was done.", "Choose another site.")
    server_round = chosen[site] if which == "best" else saved[-1]
    trained = checkpoint_files.load(run.checkpoints, checkpoint_name(arm, site, server_round)).arrays
    return whole_model(run, arm, trained)


def _load_pooled(run: Run, site: str | None, which: Which) -> Tensors:
    if site is not None:
        raise _no_such_model("the arm 'pooled' has one model.", "Leave 'site' out.")
    chosen = [int(e["model"]["round"]) for e in run.history.read() if e["event"] == "test" and e["arm"] == "pooled"]
    if which == "best" and not chosen:
        raise _not_chosen()
    saved = list_saved_rounds(run.checkpoints, "pooled", SHARED)
    if not saved:
        raise _no_such_model("no round was done.", "Run the study again.")
    server_round = chosen[-1] if which == "best" else saved[-1]
    trained = checkpoint_files.load(run.checkpoints, checkpoint_name("pooled", SHARED, server_round)).arrays
    return whole_model(run, "pooled", trained)


def _load_shared(run: Run, which: Which) -> Checkpoint:
    if which in checkpoint_files.list_names(run.path):
        return checkpoint_files.load(run.path, which)
    if which == "best":
        raise _not_chosen()
    saved = list_saved_rounds(run.checkpoints, "federated", SHARED)
    if not saved:
        raise _no_such_model("no round was done.", "Run the study again.")
    trained, meta = checkpoint_files.load(run.checkpoints, checkpoint_name("federated", SHARED, saved[-1]))
    return Checkpoint(whole_model(run, "federated", trained), meta)


def _load_personal(run: Run, site: str, which: Which) -> Tensors:
    if not run.study.has_personal_models:
        what = "the sites have no models of their own in this study: all have the shared one."
        raise _no_such_model(what, "Leave 'site' out.")
    if which == "final" and not run.study.local_layers:
        raise _no_such_model("a site keeps the best of its own models alone.", "Take which='best'.")
    folder = _state_folder(run, site)
    shared = _load_shared(run, which)
    if which == "best":
        kept = load_personal_model(ClientState(folder, _AFTER_ALL_ROUNDS))
        own = kept and merge_low_rank(run.study, kept)
    else:  # a run that was stopped in a round may have left layers of it, which belong to no shared model
        own = complete_model(run.study, shared.arrays, ClientState(folder, int(shared.meta["round"]) + 1))
    if own is None:
        what = f"what {site!r} keeps of this run is not on this machine, or was purged."
        raise _no_such_model(what, "Run the study again, with the same folder of prepared data (MEDFL_STORE).")
    return own


def _state_folder(run: Run, site: str) -> Path:
    """Return the folder of what a simulated site keeps of a run."""
    fix = "Only a simulation has the sites' own models, and only on the machine that ran it."
    try:
        sites = {each.name: each for each in read_simulated_sites(run.app.simulation)}
    except ConfigError as error:
        raise _no_such_model(f"the sites of the run cannot be found: {error.problems[0].what}", fix) from None
    if site not in sites:
        raise _no_such_model(f"no site {site!r} took part.", f"Name one of the sites: {join_words(sorted(sites))}.")
    return state_folder(site_root(sites[site]), run.study.approved_hash(), run.path.name)


def _no_such_model(what: str, fix: str) -> RunError:
    return RunError("RUN-MODEL", what, fix)


def _not_chosen() -> RunError:
    what = "the run has not chosen its best model: it is still going on, or ended early."
    return _no_such_model(what, "Take that of the last round that was done: which='final', on the command line --which final.")
