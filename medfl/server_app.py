"""The ServerApp that studies name: wiring only. How a study is conducted is in `medfl.server`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from medfl.audit.chain import Chain
from medfl.errors import MedflError
from medfl.grids.auditing import AuditingGrid
from medfl.grids.checking import CheckingGrid
from medfl.grids.lost_nodes import LostNodesGrid
from medfl.grids.packing import PackingGrid
from medfl.grids.retrying import RetryingGrid
from medfl.grids.streaming import StreamingGrid
from medfl.messages import records
from medfl.messages.run_signing import find_submitted, read_run_signer
from medfl.runs.low_rank_arrays import without_factors
from medfl.runs.run_folder import Run, runs_root
from medfl.server.checkpoints import save_bases
from medfl.server.federation import record_waiting
from medfl.server.joining import count_expected_sites, join_sites, with_simulated_sites
from medfl.server.run import run_study
from medfl.server.simulated_data import check_simulated_data
from medfl.strategies.strategy_registry import build_strategy
from medfl.study import Study, app_from_run_config

AUDIT_LOG = "audit.jsonl"  # in the run folder of a real federation: the log of exchanges

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a study from the first contact to the test, and leave everything in a run folder."""
    config = with_simulated_sites(app_from_run_config(context.run_config))
    study, server = config.study, config.server
    build_strategy(study, config.quorum)  # refuses what cannot be built before a run is made and sites are asked to join
    out = Path(server.out) if server.out else runs_root()
    run = Run.resume(out, config) if server.resume else Run.create(out, config)
    with run.lock(), _record_end(run) as end:
        past = run.history.read() if server.resume else []
        run.history.append(run.resume_event() if server.resume else run.start_event())
        models = _initial_models(study, context, run.path.name, server.start)
        initial = models[records.INITIAL]
        layout = _hash_model(models)
        save_bases(run, models)
        sites: dict[int, str] = {}  # name of the site behind each node; filled as they join
        grid = StreamingGrid(_wrap_grid(grid, run, sites))
        federation = join_sites(grid, run, count_expected_sites(config), layout, sites, _start_to_send(study, models))
        check_simulated_data(config, past, run.history.read())
        end["best-round"] = run_study(federation, initial, models.get(records.INITIAL_FULL), past)


@contextmanager
def _record_end(run: Run) -> Iterator[dict[str, object]]:
    """Write the last event of a run, however it ends, with what the body has put into the yielded dictionary."""
    started = time.monotonic()
    end: dict[str, object] = {"event": "end", "status": "failed", "reason": "broken off"}
    try:
        yield end
        end |= {"status": "completed", "reason": ""}
    except (KeyboardInterrupt, SystemExit):
        end |= {"status": "stopped", "reason": "it was stopped by hand."}
        raise
    except Exception as error:
        end |= {"status": "failed", "reason": str(error) if isinstance(error, MedflError) else type(error).__name__}
        raise
    finally:
        run.history.append(end | {"seconds": time.monotonic() - started})


def _wrap_grid(grid: Grid, run: Run, sites: Mapping[int, str]) -> Grid:
    """Return the grid of a real federation: it logs, signs, packs, checks, and asks again; a simulation's stays as it is."""
    if not run.app.server.enrolled:
        return grid

    def record_lost(node: int) -> None:
        if node in sites:
            record_waiting(run, "reply", [sites[node]], run.study.strategy.deadline)

    name = run.path.name
    audited = AuditingGrid(LostNodesGrid(grid), Chain(run.path / AUDIT_LOG, f"server:{name}"), read_run_signer(name))
    return RetryingGrid(CheckingGrid(PackingGrid(audited), run.study), run.app.quorum, record_lost)


def _hash_model(models: Mapping[str, ArrayRecord]) -> str:
    """Hash what the sites are held against as they join: the layout of what travels, and the values of what does not."""
    shared = records.array_views(models[records.INITIAL])
    base = records.array_views(models.get(records.BASE, ArrayRecord()))
    return records.model_hash(shared, {name: tensor for name, tensor in base.items() if name not in shared})


def _start_to_send(study: Study, models: Mapping[str, ArrayRecord]) -> ArrayRecord | None:
    """Return the plain network of the start, where a part of it is trained, so that the rest would never reach a site."""
    return records.to_array_record(without_factors(records.array_views(models[records.BASE]))) if study.sends_start else None


def _initial_models(study: Study, context: Context, run: str, start: str) -> Mapping[str, ArrayRecord]:
    if records.INITIAL in context.state.array_records:
        return context.state.array_records
    from medfl.clients.initial_model import build_initial_models  # brings torch and MONAI, needed here for nothing else

    submitted = find_submitted(run, start) if start else None
    return build_initial_models(study, str(submitted or start))
