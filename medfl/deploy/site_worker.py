"""Warm worker of a site: one process that takes each message, authorizes or refuses it, and answers.

It replaces Flower's SuperExec and the process that Flower starts for every message, so torch, MONAI and prepared images stay
in memory. More importantly, it is the only process that can take a message, and it authorizes the message before anything of
the bundle is used: a bundle is never unpacked, imported, or put on the interpreter's path.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict, UserConfig

from medfl.audit.chain import Chain
from medfl.clients.site_cache import read_current_site
from medfl.deploy.authorization import authorize, without_server_keys
from medfl.deploy.identity import load_key
from medfl.errors import MedflError, PolicyError, safe_reason
from medfl.flower import compat
from medfl.flower.tasks import (
    CLIENT_TASK,
    HEARTBEAT,
    NodeTask,
    NodeTasks,
    ServerLink,
    TaskInput,
    TaskToken,
    Unreachable,
    use_client_certificate,
)
from medfl.grids import auditing
from medfl.messages import records
from medfl.messages.embedded_signature import embed_signature, extract_signature
from medfl.messages.message_proof import proof_state
from medfl.messages.signatures import SIGNATURE, SignedMessage, digest_content, sign_reply, verify_message
from medfl.site import Site
from medfl.site.federation_settings import SiteFederation
from medfl.study import Study
from medfl.system.parent_watch import die_with_parent

_log = logging.getLogger("medfl.site")

_IDLE_SECONDS = 0.1  # between looks for a message
_POLL_SECONDS = 5.0  # between queries whether a run is still going on
_JOIN_TIMEOUT = 1.0  # seconds that the last query may take
_MAX_RECORDS = 20  # of a message: the model, a configuration, and what an algorithm adds
SITE_CHANGED = 75  # exit code: the site.toml was edited, and a new process is to read it


def main(site_file: Path, address: str, secret_file: Path, certificate: str = "", key: str = "") -> int:
    """Answer messages until the site.toml changes or the parent process ends.

    Parameters
    ----------
    site_file : Path
        The ``site.toml``.
    address : str
        host:port of the SuperNode's own interface, on loopback.
    secret_file : Path
        Secret that is shared with the SuperNode.
    certificate, key : str
        PEM files that the site shows to the server's proxy, empty when it has none.

    Returns
    -------
    int
        `SITE_CHANGED`.

    Raises
    ------
    PolicyError
        ``NO-FEDERATION``.
    DeployError
        ``NODE-FOREIGN`` when the SuperNode does not share the secret.
    """
    die_with_parent()
    if certificate:
        use_client_certificate(Path(certificate), Path(key))
    read_at = _modified_at(site_file)
    site = read_current_site(site_file)
    worker = SiteWorker(site, site_file)
    import medfl.clients.preload  # noqa: F401 - torch and MONAI, before the first message comes

    tasks = NodeTasks(address, secret_file.read_bytes())
    _log.info("The worker of site %s is ready.", site.name)
    while _modified_at(site_file) == read_at:
        token = tasks.acquire()
        if token is None:
            time.sleep(_IDLE_SECONDS)
            continue
        worker.handle(token, tasks.open_task(token))
    return SITE_CHANGED


class SiteWorker:
    """Authorizes and answers the messages to a site.

    Parameters
    ----------
    site : Site
        A site that belongs to a federation.
    site_file : Path
        The file it was read from.
    """

    def __init__(self, site: Site, site_file: Path) -> None:
        federation = require_federation(site)
        self._site, self._file = site, site_file
        self._chain = Chain(site.folder / federation.audit, site.name)
        self._server = ServerLink(federation.server, site.folder / federation.ca, site.folder / federation.key)

    def handle(self, token: TaskToken, task: NodeTask) -> None:
        """Pull a message and answer it; never raise."""
        succeeded = False
        try:
            with _poll_in_background(lambda: not task.send_heartbeat(), HEARTBEAT) as is_lost:
                job = task.pull()  # takes as long as the SuperNode needs to fetch the model
                compat.identify_process(job.context.run_id, job.context.node_id)
                if job.message.has_content():
                    extract_signature(job.message.content, records.CONFIG)
                reply = self._answer_safely(token.kind, job, is_lost)
                compat.hide_times(reply, job.message)
                if reply.has_content():
                    embed_signature(reply.content, records.SITE)
                task.push(reply)
            succeeded = not reply.has_error()
        except Unreachable:
            _log.warning("[NODE-GONE] The SuperNode went away or gave the message up; nothing is answered.")
        except Exception as error:  # Flower could not put the message together; the next one may be whole
            _log.error(
                "[SITE-ERROR] %s while a message was received or its reply sent; nothing is answered.", type(error).__name__
            )
        finally:
            task.finish(well=succeeded)

    def _answer_safely(self, kind: str, job: TaskInput, is_lost: Callable[[], bool]) -> Message:
        """Answer; if anything fails, answer with a code: a SuperNode that gets no reply would wait for ever."""
        try:
            return self.answer(kind, job, is_lost)
        except Exception as error:
            return _failure_reply(job.message, error)

    def answer(self, kind: str, job: TaskInput, is_lost: Callable[[], bool] = lambda: False) -> Message:
        """Authorize a message, answer or refuse it, and record both in the site's log of exchanges.

        Parameters
        ----------
        kind : str
            Kind of the task.
        job : TaskInput
            The message and its bundle.
        is_lost : callable
            Returns whether nobody waits for the answer any more.

        Returns
        -------
        Message
            The reply; an error when the message was refused or its handling failed.

        Raises
        ------
        RunError
            When the log cannot be written: a message that cannot be recorded is not answered.
        """
        try:
            if kind != CLIENT_TASK:
                raise PolicyError("APP-KIND", "the server sent a task that is not for a ClientApp.", "No study needs that.")
            asked, proof = self._authenticate(job, authorize(job.bundle, job.context.run_config, self._site))
        except MedflError as refusal:
            _log.error("%s", refusal)
            auditing.log_received(self._chain, job.message, refusal.code)
            return self._log_reply(job, _refusal_reply(job.message, refusal))
        except Exception as error:
            _log.error("[GATE-FAILED] %s while a bundle was examined", type(error).__name__)
            auditing.log_received(self._chain, job.message, "GATE-FAILED")
            authorization_error = PolicyError("GATE-FAILED", "the bundle could not be examined.")
            return self._log_reply(job, _refusal_reply(job.message, authorization_error))
        auditing.log_received(self._chain, job.message, auditing.ACCEPTED, asked.digests)
        job.message.content.pop(SIGNATURE, None)  # so that no answer depends on it
        reply = self._run_client_app(job, is_lost, proof)
        try:
            return self._log_reply(job, reply, asked)
        except Exception as error:  # once there is an answer, one code stands for whatever keeps it here
            raise PolicyError("NOT-ANSWERED", f"the answer could not be recorded: {_describe(error)}") from error

    def _run_client_app(self, job: TaskInput, is_lost: Callable[[], bool], proof: RecordDict) -> Message:
        from medfl.client_app import app
        from medfl.clients.training.interrupts import stop_when

        def is_over_on_server() -> bool:
            return self._server.is_over(job.run, job.context.node_id)

        try:
            with (
                _poll_in_background(is_over_on_server, _POLL_SECONDS) as is_over,
                stop_when(lambda: "RUN-STOPPED" if is_lost() or is_over() else None),
            ):
                return app(job.message, self._site_context(job, proof))
        except ValueError:  # Flower's own, when the app has no function for this kind of message; all else the app handles
            what = "the server sent a kind of message that no study needs."
            return _failure_reply(job.message, PolicyError("QUESTION-UNKNOWN", what))
        except Exception as error:
            _log.error("%s", _describe(error))
            return _failure_reply(job.message, PolicyError("NOT-ANSWERED", "the server is told this code alone."))

    def _authenticate(self, job: TaskInput, study: Study) -> tuple[SignedMessage, RecordDict]:
        """Return what came as it was signed, and its proof; raise unless the server sent it to this node for this study."""
        about, content = job.message.metadata, job.message.content
        if len(content) > _MAX_RECORDS:
            raise PolicyError("MESSAGE-SIZE", f"a message holds {len(content)} records.", "No study needs that many.")
        asked = SignedMessage(job.context.run_id, about.message_type, job.context.node_id, digest_content(content))
        if (about.src_node_id, about.dst_node_id) != (compat.SERVER_NODE_ID, job.context.node_id):
            what = "a message came that names another sender than the server, or another receiver than this site."
            raise PolicyError("MESSAGE-FORGED", what, "Tell the server's operator: medfl audit show has it.")
        config = content.get(records.CONFIG)
        run = config.get(records.RUN) if isinstance(config, ConfigRecord) else None
        ca = (self._site.folder / require_federation(self._site).ca).read_bytes()
        verify_message(content.get(SIGNATURE), asked, ca, study.approved_hash(), run if isinstance(run, str) else None)
        return asked, proof_state(asked, content, ca)

    def _log_reply(self, job: TaskInput, reply: Message, asked: SignedMessage | None = None) -> Message:
        def sign(digests: Mapping[str, str]) -> ConfigRecord:
            assert asked is not None
            key = load_key(self._site.folder / require_federation(self._site).key)
            return sign_reply(dataclasses.replace(asked, digests=digests), asked.digest(), key)

        signer, answers = (None, "") if asked is None else (sign, asked.digest())
        auditing.log_sent(self._chain, job.message, reply, signer, answers)
        return reply

    def _site_context(self, job: TaskInput, proof: RecordDict) -> Context:
        """Return the context: this site in the configuration of the node, the study in that of the run, the proof as state."""
        node_config: UserConfig = {"site": str(self._file.resolve())}
        run_config = without_server_keys(job.context.run_config)
        return Context(job.context.run_id, job.context.node_id, node_config, proof, run_config)


@contextmanager
def _poll_in_background(condition: Callable[[], bool], every: float) -> Iterator[Callable[[], bool]]:
    """Check a condition again and again in the background; yield a function that returns whether it was ever true."""
    done, met = threading.Event(), threading.Event()

    def poll() -> None:
        while not met.is_set() and not done.wait(every):
            if condition():
                met.set()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield met.is_set
    finally:
        done.set()
        thread.join(_JOIN_TIMEOUT)


def require_federation(site: Site) -> SiteFederation:
    """Return a site's table [federation]; raise PolicyError ``NO-FEDERATION`` when its site.toml has none."""
    if site.federation is None:
        fix = "Unpack the kit that the server's operator gave you: medfl site join KIT.zip."
        raise PolicyError("NO-FEDERATION", f"the site.toml of {site.name} names no federation.", fix)
    return site.federation


def _modified_at(file: Path) -> int:
    """Return when a file was last written; 0 when it does not exist, as while an editor replaces it."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _failure_reply(message: Message, error: Exception) -> Message:
    _log.error("%s", _describe(error))
    return _refusal_reply(message, error)


def _describe(error: Exception) -> str:
    """Return what the site's own log says of an error: of a foreign exception not its text, which may hold a path or a name."""
    return str(error) if isinstance(error, MedflError) else f"[SITE-ERROR] {type(error).__name__}"


def _refusal_reply(message: Message, refusal: Exception) -> Message:
    return Message(Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, safe_reason(refusal)), reply_to=message)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    _log.setLevel(logging.INFO)
    compat.disable_telemetry(os.environ)
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:]))
    except MedflError as problem:
        _log.error("%s", problem)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
