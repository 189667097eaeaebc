"""What a hospital answers to each kind of message. Everything read once in a process is kept for the next message."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from torch import nn

from medfl import metrics
from medfl.clients import attacks, join_reply, update_compression
from medfl.clients.algorithms.algorithm_registry import build_algorithm
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.networks import layers
from medfl.clients.networks.network_builders import build_network
from medfl.clients.training import interrupts, personal_model, session
from medfl.clients.training.client_state import ClientState, state_folder
from medfl.clients.training.task import TrainTask
from medfl.data.cohort import data_stamp
from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.site_fingerprint import compute_fingerprint
from medfl.data.store.cache_key import site_root
from medfl.data.store.prepare import prepare
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import ConfigError, DataError, ExchangeError, PolicyError, Problem
from medfl.flower import compat
from medfl.messages import records
from medfl.messages.records import Metrics
from medfl.planning import fingerprint_serialization
from medfl.privacy import policy_checks
from medfl.privacy.suppression import suppress
from medfl.site import Site, read_site
from medfl.study import Study, study_from_run_config

_CACHE_SIZE = 64  # sites and studies that one process keeps open; their images are memory-mapped, so this is cheap


def join(message: Message, context: Context) -> Message:
    """Say who is there: the site's name, its patients and images by split, and what was left out."""
    study, site = _authorize(message, context)
    with _time_limit(site):
        prepared = _load_training_cases(study, site)
        told = join_reply.site_info(prepared, site) | {
            records.MODEL_HASH: records.layout_hash(layers.shared_arrays(study, _cached_network(study)))
        }
        numbers = policy_checks.redact(join_reply.patient_counts(prepared, site), site.policy)
        return _build_reply(message, site, records.build_reply_content(site.name, numbers, told=told))


def fingerprint(message: Message, context: Context) -> Message:
    """Say what the images of the site are like, in sums and counts that its policy lets it tell."""
    study, site = _authorize(message, context)
    with _time_limit(site):
        taken = compute_fingerprint(site, study, _case_done)
        told = {records.EXCLUDED: join_reply.count_findings(taken.findings, site, "error")}
        return _build_reply(message, site, fingerprint_serialization.to_content(site.name, taken.fingerprint, told))


def train(message: Message, context: Context) -> Message:
    """Score the received model on the validation patients, train it, and send it back with both results."""
    study, site = _authorize(message, context)
    policy_checks.check_weight(site.policy)
    with _time_limit(site):
        work = layers.with_local_layers(_read_task(message, context))
        policy_checks.check_round(study, site.policy, work.server_round)
        return _build_reply(message, site, _train_reply(work, simulated=_is_simulated(context)))


def _train_reply(work: TrainTask, *, simulated: bool) -> RecordDict:
    study, site = work.study, work.site
    scores = metrics.empty_metrics(study)
    half = ClientAlgorithm() if work.arm == "local" else build_algorithm(study, site)
    if (work.server_round - 1) % study.evaluation.every == 0 and work.server_round > 1:
        scores = session.evaluate(study, site, work.prepared, work.net, work.received, "validation", None)
        personal_model.save_if_best(work, half, scores)
    if work.arm != "local" and simulated:
        half = attacks.as_attacker(half, study.simulation, site.name, [s.name for s in _read_simulated_sites(study)])
    outcome = update_compression.compress(work, layers.without_local_layers(work, session.train(work, half)))
    numbers = policy_checks.redact(outcome.metrics | suppress(scores, site.policy.min_count), site.policy)
    told = {records.EXCLUDED: join_reply.count_findings(work.prepared.findings, site, "error")}
    return records.build_reply_content(site.name, numbers, outcome.arrays, told, outcome.records)


def evaluate(message: Message, context: Context) -> Message:
    """Score the received model on the patients of the split that the message names, and in a test the site's own beside it."""
    config = message.content.config_records[records.CONFIG]
    split = str(config[records.SPLIT])
    if split not in ("validation", "test"):
        raise ExchangeError("SPLIT-UNKNOWN", f"the server asked for the split {split!r}.", "It can be validation or test.")
    study, site = _authorize(message, context)
    with _time_limit(site):
        work, folder = _read_task(message, context, trained=True), _output_folder(config, context, site)
        last = work.server_round - (2 if split == "test" else 1)  # the round of the model; a test has the number after it
        policy_checks.check_round(study, site.policy, max(last, 1))
        told = _evaluate_metrics(work, split, folder, trial=bool(config.get(records.TRIAL, False)))
        return _build_reply(message, site, records.build_reply_content(site.name, policy_checks.redact(told, site.policy)))


def _evaluate_metrics(work: TrainTask, split: str, folder: Path | None, *, trial: bool) -> Metrics:
    study, site, whole = work.study, work.site, layers.with_local_layers(work)
    model = layers.with_initial_layers(work).received if split == "test" else whole.received
    scores = session.evaluate(study, site, work.prepared, work.net, model, split, folder)
    told, half = suppress(scores, site.policy.min_count), build_algorithm(study, site)
    if split == "validation":
        if not trial:
            personal_model.save_if_best(whole, half, scores)
    elif personal_model.has_personal_model(work):
        own = personal_model.evaluate_personal(whole, half, folder)
        told |= metrics.as_personal(suppress(own, site.policy.min_count))
    return told


def _authorize(message: Message, context: Context) -> tuple[Study, Site]:
    """Return study and site, when the policy of the site lets it answer a message at all."""
    study, site = _read_study(context), _find_site(context)
    policy_checks.check_hours(site.policy, datetime.now())
    policy_checks.check_study(study, site.policy)
    return study, site


def _build_reply(message: Message, site: Site, content: RecordDict) -> Message:
    """Return a reply that the policy lets out; it names what it answers, so that it cannot be taken for another's."""
    asked = message.content.config_records.get(records.CONFIG, ConfigRecord())
    told = content.config_records[records.SITE]
    for key in (records.RUN, records.ROUND, records.EXCHANGE):
        if key in asked:
            told[key] = asked[key]
    policy_checks.check_reply_size(site.policy, records.count_bytes(content))
    return Message(content, reply_to=message)


@contextmanager
def _time_limit(site: Site) -> Iterator[None]:
    """Break the work inside off when it takes longer than the site allows for one message."""
    minutes, begun = site.policy.max_minutes, time.monotonic()

    def reason() -> str | None:
        return "POLICY-MINUTES" if minutes and time.monotonic() - begun > 60 * minutes else None

    with interrupts.stop_when(reason):
        yield


def derive_seed(study_seed: int, site: str, server_round: int) -> int:
    """Derive the seed of a site's work in a round from names alone, so no order of arrival or machine changes a result.

    Examples
    --------
    >>> seed_of(1, "hospital-a", 3) == seed_of(1, "hospital-a", 3)
    True
    """
    text = f"{study_seed}\x1f{site}\x1f{server_round}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def _read_task(message: Message, context: Context, *, trained: bool = False) -> TrainTask:
    """Read a message; in one of an evaluation the training of its round is over, and the site remembers that."""
    study, site = _read_study(context), _find_site(context)
    config = message.content.config_records[records.CONFIG]
    server_round = _require_int(config, records.ROUND) + trained
    tensors = {name: records.from_array_record(found) for name, found in message.content.array_records.items()}
    received = tensors.pop(records.ARRAYS)
    run = str(config.get(records.RUN, f"flower-{context.run_id}"))
    arm = str(config.get(records.ARM, study.simulation.arms[0]))
    if arm not in study.simulation.arms:  # an arm decides what stays at the site
        raise PolicyError("ARM-FOREIGN", f"the server asks for the arm {arm[:20]!r}, which the study does not have.")
    folder = state_folder(site_root(site), study.approved_hash(), run)
    return TrainTask(
        study,
        site,
        _load_prepared(study, site) if trained else _load_training_cases(study, site),
        _cached_network(study),
        received,
        server_round,
        derive_seed(study.seed, site.name, server_round),
        records=tensors,
        state=ClientState(folder, server_round),
        arm=arm,
    )


def _read_study(context: Context) -> Study:
    return _parse_study(json.dumps(context.run_config, sort_keys=True))


@lru_cache(maxsize=_CACHE_SIZE)
def _parse_study(run_config: str) -> Study:
    return study_from_run_config(json.loads(run_config))


def _find_site(context: Context) -> Site:
    study = _read_study(context)
    if "site" in context.node_config:
        return _read_site(str(context.node_config["site"]))
    if "partition-id" not in context.node_config or not compat.is_simulation():
        raise ConfigError([Problem("node configuration", "site", "this node was started without the path of a site.toml.")])
    sites = _read_simulated_sites(study)
    partition = int(context.node_config["partition-id"])
    if partition >= len(sites):
        raise DataError(
            "NO-SUCH-PARTITION",
            f"the data of the simulation holds {len(sites)} hospitals, and this node should be number {partition + 1}.",
            "Start as many nodes as there are hospitals; 'medfl study check STUDY --data DATA' prints the command.",
        )
    return sites[partition]


@lru_cache(maxsize=_CACHE_SIZE)
def _read_site(path: str) -> Site:
    return read_site(Path(path))


@lru_cache(maxsize=1)
def _read_simulated_sites(study: Study) -> tuple[Site, ...]:
    return read_simulated_sites(study)


def _load_prepared(study: Study, site: Site) -> PreparedData:
    """Return the cases of a site that has as many patients as it asks of itself."""
    prepared = _load_cases(study, site, data_stamp(site))
    policy_checks.check_patients(site.policy, prepared.count_patients("train"))
    return prepared


@lru_cache(maxsize=_CACHE_SIZE)
def _load_cases(study: Study, site: Site, stamp: tuple[int, ...]) -> PreparedData:
    return prepare(site, study, _case_done)


def _case_done(done: int, of: int) -> None:
    interrupts.check_interrupts()


def _load_training_cases(study: Study, site: Site) -> PreparedData:
    """Return the cases of a site that may train: a training reply tells the number of its patients, which is its weight."""
    prepared = _load_cases(study, site, data_stamp(site))
    join_reply.check_min_patients(prepared, site)
    return prepared


@lru_cache(maxsize=1)
def _cached_network(study: Study) -> nn.Module:
    return build_network(study)


def _output_folder(config: ConfigRecord, context: Context, site: Site) -> Path | None:
    """Return where a simulated hospital leaves what is for its own eyes; a real one takes no path from a server."""
    folder = str(config.get(records.RUN_FOLDER, ""))
    return Path(folder) / "sites" / site.name if folder and _is_simulated(context) else None


def _is_simulated(context: Context) -> bool:
    return "site" not in context.node_config  # as `_site` decides, which refuses a real node without a site


def _require_int(config: ConfigRecord, key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int):
        came = "is missing" if value is None else f"came as {type(value).__name__}"
        raise ExchangeError("CONFIG-TYPE", f"{key} {came}.", "It must be a whole number.")
    return value
