"""Export of a run's model as a MONAI bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from medfl.report.model_card import CardModel, describe_model, headline_scores, render_model_card
from medfl.report.report_data import ReportData, read_report_data

if TYPE_CHECKING:
    from medfl.models.bundle import Bundle
    from medfl.models.run_models import Which

_NO_LICENCE = "No licence is stated: ask the hospitals that trained the model before you pass it on."
_AUDIT_LOG = "audit.jsonl"


def export_run(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    arm: str = "federated",
    site: str | None = None,
    which: Which = "best",
    licence: str = "",
    onnx: bool = False,
) -> Bundle:
    """Write a model of a run as a MONAI bundle, which others use without medfl.

    Parameters
    ----------
    run : path
        Folder of the run.
    out : path, optional
        Folder of the bundle, which must not exist; the name of the study, in the present folder, unless given.
    arm, site, which
        Which model: see `OpenRun.model`.
    licence : str
        Licence of the model, such as ``"CC-BY-NC-4.0"``, as the hospitals agreed on it.
    onnx : bool
        Whether to write ``model.onnx`` as well, which needs ``flwr-medfl[onnx]``.

    Returns
    -------
    Bundle
        Its folder, and what it lacks, with the reasons.

    Raises
    ------
    RunError
        ``RUN-MISSING``, ``RUN-MODEL`` or ``CHECKPOINT-DAMAGED`` when there is no such model; ``EXPORT-EXISTS``,
        ``RUN-FOLDER`` or ``DISK-FULL`` when the folder cannot be written; ``EXPORT-EXTRA`` when a library is missing.
    """
    folder = Path(run).expanduser().resolve()
    data = read_report_data(folder)
    target = Path(out).expanduser().absolute() if out else Path.cwd() / data.study.name
    from medfl.models.bundle import BundleFacts, require_free, write_bundle
    from medfl.models.trained_model import open_model

    require_free(target)
    model = open_model(folder, arm=arm, site=site, which=which)
    card = CardModel(arm, site, which, model.origin.digest, licence or _NO_LICENCE, _audit_head(folder))
    facts = BundleFacts(
        description=describe_model(data, card),
        card=render_model_card(data, card),
        licence=f"{licence or _NO_LICENCE}\n",
        about={"arm": arm, "site": site or "", **_find_round(data, card)},
        scores=headline_scores(data, card),
    )
    return write_bundle(model, facts, target, onnx=onnx)


def _audit_head(folder: Path) -> str:
    """Return number and hash of the last line of the server's log; empty in a simulation."""
    from medfl.audit.chain import Chain

    log = folder / _AUDIT_LOG
    return Chain(log, "").head if log.is_file() else ""


def _find_round(data: ReportData, model: CardModel) -> dict[str, int]:
    """Return the round of a shared model."""
    arm = data.arms.get("federated")
    if model.arm != "federated" or model.site is not None or arm is None or not arm.rounds:
        return {}
    found = data.best_round if model.which == "best" else arm.rounds[-1].number
    return {"round": found} if found else {}
