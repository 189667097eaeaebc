"""The node: what a site answers to each kind of message, once its policy allows it to answer at all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict

from medfl import metrics
from medfl.clients import attacks, joining, node_cache, personal_model, session, update_compression
from medfl.clients.algorithms.algorithm_registry import build_algorithm
from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.ensemble import ENSEMBLE_ARM, score_ensemble
from medfl.clients.networks import layers
from medfl.clients.own_results import own_results
from medfl.clients.pooled_cases import POOLED_ARM, pool_cases
from medfl.clients.start.initial_layers import frozen_arrays
from medfl.clients.start.kept_start import kept_start
from medfl.clients.training import interrupts, local_layers
from medfl.clients.training.client_state import ClientState, state_folder
from medfl.clients.training.fine_tuning import FINE_TUNED_ARM, fine_tuning_task
from medfl.clients.training.seeds import derive_seed
from medfl.clients.training.task import TrainTask
from medfl.data.site_fingerprint import compute_fingerprint
from medfl.data.store.cache_key import site_root
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import ExchangeError, PolicyError
from medfl.messages import records
from medfl.messages.models import Tensors
from medfl.messages.records import Metrics
from medfl.planning import fingerprint_serialization
from medfl.privacy import policy_checks
from medfl.privacy.questions import read_question
from medfl.privacy.released_scores import Split, release_scores
from medfl.privacy.score_noise import ScoreNoise, build_score_noise
from medfl.runs.kept_models import Which
from medfl.site import Site
from medfl.study import Study


def join(message: Message, context: Context, opened: node_cache.OpenNode | None = None) -> Message:
    """Introduce the site: its name, its patients and images by split, and how many cases were left out and why."""
    opened = _authorize(context, opened)
    study, site = opened.study, opened.site
    with _time_limit(site):
        prepared = _load_training_cases(opened)
        info = joining.site_info(prepared, site) | {records.MODEL_HASH: _hash_model(study, site)}
        info |= joining.simulation_info(prepared, study) if opened.simulation else {}
        numbers = policy_checks.redact(joining.patient_counts(prepared, site), site.policy)
        return _build_reply(message, site, records.build_reply_content(site.name, numbers, None, info))


def fingerprint(message: Message, context: Context, opened: node_cache.OpenNode | None = None) -> Message:
    """Describe the images of the site, in those sums and counts that its policy lets out."""
    opened = _authorize(context, opened)
    study, site = opened.study, opened.site
    with _time_limit(site):
        simulated = opened.simulation is not None
        result = compute_fingerprint(site, study, node_cache.case_done, opened.choose_described, is_simulated=simulated)
        info = {records.EXCLUDED: joining.count_findings(result.findings, site, "error")}
        return _build_reply(message, site, fingerprint_serialization.to_content(site.name, result.fingerprint, info))


def train(message: Message, context: Context, opened: node_cache.OpenNode | None = None) -> Message:
    """Score the received model on the validation patients, train it, and return it with both results."""
    opened = _authorize(context, opened)
    study, site = opened.study, opened.site
    policy_checks.check_weight(site.policy)
    with _time_limit(site):
        server_round = _require_int(_read_config(message), records.ROUND)
        policy_checks.check_round(study, site.policy, server_round)
        task = _read_task(message, context, opened, server_round, _load_training_cases)
        if task.arm == POOLED_ARM:
            task = pool_cases(task, _read_config(message), opened.simulation)
        return _build_reply(message, site, _train_reply(task, opened, _score_noise(message, context, opened)))


def evaluate(message: Message, context: Context, opened: node_cache.OpenNode | None = None) -> Message:
    """Score the received model on the patients of the split that the message names; in a test, the personal model too."""
    config = _read_config(message)
    split = _read_split(config)
    opened = _authorize(context, opened)
    study, site = opened.study, opened.site
    with _time_limit(site):
        server_round = _require_int(config, records.ROUND)
        scored = server_round - 1 if split == "test" else server_round  # the round of the model: a test has the next number
        policy_checks.check_round(study, site.policy, max(scored, 1))
        task = _read_task(message, context, opened, server_round + 1, _load_cases)  # training of its round is over
        own = own_results(task, split, config, opened.simulation)
        noise = _score_noise(message, context, opened)
        if task.arm == ENSEMBLE_ARM:
            scores = score_ensemble(task, config, opened.simulation, split, own)
            numbers = release_scores(scores, study, site.policy, split, noise, private_model=False)
        else:
            trial = bool(config.get(records.TRIAL, False))
            numbers = _evaluate_metrics(task, split, own, noise, opened.keep_model, trial=trial)
        return _build_reply(message, site, records.build_reply_content(site.name, policy_checks.redact(numbers, site.policy)))


def _hash_model(study: Study, site: Site) -> str:
    """Hash the layout of what travels, and the values of what is frozen, as this site has it."""
    net = node_cache.get_network(study)
    shared = layers.shared_arrays(study, net)
    frozen = frozen_arrays(study, kept_start(study, site)) if study.training.tunes_part else {}
    return records.model_hash(shared, frozen)


def _train_reply(received: TrainTask, opened: node_cache.OpenNode, noise: ScoreNoise | None) -> RecordDict:
    task = local_layers.with_local_layers(received)
    study, site, simulation = task.study, task.site, opened.simulation
    algorithm = build_algorithm(study, site) if task.arm == "federated" else ClientAlgorithm()
    scores = metrics.empty_metrics(study)
    if _scores_received(task):
        scores = session.evaluate(study, site, task.prepared, task.net, task.received, "validation")
        personal_model.save_if_best(task, algorithm, scores)
    if simulation and simulation.attack != "none" and task.arm == "federated":
        external = study.evaluation.external
        names = [each.name for each in node_cache.simulated_sites(simulation) if each.name not in external]
        algorithm = attacks.as_attacker(algorithm, simulation, site.name, names)
    trained = session.train(fine_tuning_task(task) if task.arm == FINE_TUNED_ARM else task, algorithm)
    opened.note_update(task.received, trained.arrays, int(str(trained.metrics[records.TRAIN_STEPS])))
    result = update_compression.compress(task, local_layers.without_local_layers(task, trained))
    if task.arm == "federated":
        task.state.close_round()
    private = local_layers.has_local_layers(task)
    released = release_scores(result.metrics | scores, study, site.policy, "validation", noise, private_model=private)
    numbers = policy_checks.redact(released, site.policy)
    repeat = opened.repeat_exclusions
    excluded = repeat() if repeat else joining.count_findings(task.prepared.findings, site, "error")
    info = {records.EXCLUDED: excluded}
    return records.build_reply_content(site.name, numbers, result.arrays, info, result.records)


def _scores_received(task: TrainTask) -> bool:
    """Return whether the model that a site received to train is one that training of its arm, or of another one, has made."""
    is_trained = task.server_round > 1 or task.arm == FINE_TUNED_ARM
    return task.arm != POOLED_ARM and is_trained and (task.server_round - 1) % task.study.evaluation.every == 0


def _evaluate_metrics(
    received: TrainTask,
    split: Split,
    own: session.OwnResults | None,
    noise: ScoreNoise | None,
    keep_model: Callable[[Which, Tensors, Metrics], None],
    *,
    trial: bool,
) -> Metrics:
    study, site, task = received.study, received.site, local_layers.with_local_layers(received)
    model = local_layers.with_initial_layers(received).received if split == "test" else task.received
    scores = session.evaluate(study, site, task.prepared, task.net, model, split, own)
    private = split == "validation" and local_layers.has_local_layers(task)
    numbers = release_scores(scores, study, site.policy, split, noise, private_model=private)
    algorithm = build_algorithm(study, site)
    if split == "validation":
        if not trial:
            personal_model.save_if_best(task, algorithm, scores)
        return numbers
    if task.arm == "federated" and not study.local_layers:  # it is the model of all, and whole
        keep_model("shared", model, scores)
    if personal_model.has_personal_model(task):
        personal = personal_model.final_model(task, algorithm)
        personal_scores = personal_model.evaluate_personal(task, personal, own)
        keep_model("personal", personal, personal_scores)
        numbers |= metrics.as_personal(release_scores(personal_scores, study, site.policy, split, noise, private_model=True))
    return numbers


def _authorize(context: Context, opened: node_cache.OpenNode | None) -> node_cache.OpenNode:
    """Return study and site, when the policy of the site allows it to answer a message at all."""
    opened = opened or node_cache.open_node(context)
    policy_checks.check_hours(opened.site.policy, datetime.now())
    policy_checks.check_study(opened.study, opened.site.policy)
    return opened


@contextmanager
def _time_limit(site: Site) -> Iterator[None]:
    """Break off the work inside when it takes longer than the site allows for one message."""
    minutes, begun = site.policy.max_minutes, time.monotonic()

    def reason() -> str | None:
        return "POLICY-MINUTES" if minutes and time.monotonic() - begun > 60 * minutes else None

    with interrupts.stop_when(reason):
        yield


def _read_task(
    message: Message,
    context: Context,
    opened: node_cache.OpenNode,
    server_round: int,
    load: Callable[[node_cache.OpenNode], PreparedData],
) -> TrainTask:
    """Read a message with a model, and open what the site needs for it."""
    study, site, config = opened.study, opened.site, _read_config(message)
    arm = str(config.get(records.ARM, study.arms[0]))
    if arm not in study.arms:  # the arm decides which layers stay at the site
        raise PolicyError("ARM-FOREIGN", f"the server asks for the arm {arm[:20]!r}, which the study does not have.")
    arrays = {name: records.from_array_record(record) for name, record in message.content.array_records.items()}
    model = arrays.pop(records.ARRAYS)
    run = str(config.get(records.RUN, f"flower-{context.run_id}"))
    state = ClientState(state_folder(site_root(site), study.approved_hash(), run), server_round)
    if arm == "federated":  # the others keep nothing
        state.check()
    seed = derive_seed(study.seed, site.name, server_round)
    net = node_cache.get_network(study)
    return TrainTask(study, site, load(opened), net, model, server_round, seed, state, arrays, arm)


def _read_config(message: Message) -> ConfigRecord:
    return message.content.config_records[records.CONFIG]


def _require_int(config: ConfigRecord, key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int):
        problem = "is missing" if value is None else f"has the type {type(value).__name__}"
        raise ExchangeError("CONFIG-TYPE", f"{key} {problem}.", "It must be a whole number.")
    return value


def _read_split(config: ConfigRecord) -> Split:
    split = str(config[records.SPLIT])
    if split not in ("validation", "test"):
        raise ExchangeError("SPLIT-UNKNOWN", f"the server asked for the split {split!r}.", "It can be validation or test.")
    return "validation" if split == "validation" else "test"


def _score_noise(message: Message, context: Context, opened: node_cache.OpenNode) -> ScoreNoise | None:
    """Return the noise that the policy of the site adds to the scores of its answer; the same one for the same question."""
    study, site = opened.study, opened.site
    if not site.policy.score_noise:
        return None
    run = f"flower-{context.run_id}"
    question = opened.question or read_question(message.metadata.message_type, message.content, study, run).digest
    return build_score_noise(study, site, question)


def _load_cases(opened: node_cache.OpenNode) -> PreparedData:
    """Return the cases of a site, which has as many training patients as its policy asks for."""
    prepared = opened.choose_cases(node_cache.load_cases(opened.study, opened.site))
    if not _is_external(opened):
        policy_checks.check_patients(opened.site.policy, prepared.count_patients("train"))
    return prepared


def _load_training_cases(opened: node_cache.OpenNode) -> PreparedData:
    """Return the cases of a site whose number of training patients, the weight of its replies, may leave."""
    prepared = opened.choose_cases(node_cache.load_cases(opened.study, opened.site))
    if not _is_external(opened):
        joining.check_min_patients(prepared, opened.site)
    return prepared


def _is_external(opened: node_cache.OpenNode) -> bool:
    """Return whether a simulated site is external: it has test patients alone, and its replies no weight."""
    return opened.site.name in opened.study.evaluation.external


def _build_reply(message: Message, site: Site, content: RecordDict) -> Message:
    """Return a reply that the policy lets out. It repeats what it answers, so that it cannot be taken for another's."""
    config = message.content.config_records.get(records.CONFIG, ConfigRecord())
    info = content.config_records[records.SITE]
    for key in (records.RUN, records.ROUND, records.EXCHANGE):
        if key in config:
            info[key] = config[key]
    if site.policy.scores != "exact":
        _round_seconds(content)
    policy_checks.check_reply_size(site.policy, records.count_bytes(content))
    return Message(content, reply_to=message)


def _round_seconds(content: RecordDict) -> None:
    """Tell times in whole seconds: to the microsecond they depend on the values of the images."""
    for record in content.values():
        if isinstance(record, MetricRecord):
            for key, value in record.items():
                if key.endswith("seconds") and isinstance(value, float) and math.isfinite(value):
                    record[key] = float(math.ceil(value))
