"""Model card (Mitchell et al. 2019, https://arxiv.org/abs/1810.03993): what a model is for, what it rests on, where it ends.

Its numbers are those of the report, so a hospital's policy hides in it what it hides there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from medfl.report import provenance_tables, tables
from medfl.report.formatting import STATUS_TITLES, format_time
from medfl.report.report_data import ReportData
from medfl.report.tables import Row, Table
from medfl.report.templates import render_text
from medfl.report.verdict import score_name, test_score, verdict_sentences
from medfl.study.plain_names import escape_markdown
from medfl.system.text import plural

_NO_AUDIT = "none: a simulation keeps no log of exchanges"


@dataclass(frozen=True)
class CardModel:
    """The model that a card is of.

    Parameters
    ----------
    arm, site, which
        Which model of the run it is, as to `medfl.api.OpenRun.model`.
    digest : str
        SHA-256 of its weights.
    licence : str
        Its licence, a sentence or a name.
    audit_head : str
        Number and hash of the last line of the server's log; empty where there is none.
    """

    arm: str
    site: str | None
    which: str
    digest: str
    licence: str
    audit_head: str = ""

    @property
    def is_tested(self) -> bool:
        """Whether it is the shared model that the hospitals tested."""
        return self.arm == "federated" and self.site is None and self.which == "best"

    def describe(self) -> str:
        """Return which model it is, in words."""
        if self.arm == "local":
            whose = f"the model that {self.site} trained alone"
        elif self.arm == "fine-tuned":
            whose = f"the model of all hospitals that {self.site} trained further alone"
        elif self.arm == "pooled":
            whose = "the model that was trained on the patients of all hospitals in one place"
        else:
            whose = "the model that all hospitals share" if self.site is None else f"the personal model of {self.site}"
        chosen = "chosen on validation patients" if self.which == "best" else "as it was after the last round"
        return f"{whose}, {chosen}"


def render_model_card(data: ReportData, model: CardModel) -> str:
    """Return a model card as Markdown.

    Parameters
    ----------
    data : ReportData
        The run.
    model : CardModel
        Which of its models.
    """
    used, tested = provenance_tables.used_table(data), _score_table(data, model)
    by_class = tables.class_table(data) if model.is_tested else None
    return render_text(
        "model_card.md.j2",
        data=data,
        study=data.study,
        description=escape_markdown(describe_model(data, model)),
        classes=", ".join(f"{k} {escape_markdown(name)}" for k, name in enumerate(data.study.task.classes)),
        used=to_markdown(used) if used else "No hospital is on record.",
        without_ids=[escape_markdown(site.name) for _, site in sorted(data.joined.items()) if not site.patient_ids],
        simulated=bool(data.simulation.data),
        rests_on=_rests_on(data, model),
        scores=to_markdown(tested) if tested else "",
        by_class=to_markdown(by_class) if by_class else "",
        no_scores="No score of this very model is on record: the hospitals tested another one of this run, or none.",
        verdict=list(map(escape_markdown, verdict_sentences(data))) if model.is_tested else [],
        licence=escape_markdown(model.licence),
        which=escape_markdown(model.describe()),
        digest=model.digest,
        audit_head=f"`{model.audit_head}`" if model.audit_head else _NO_AUDIT,
        ended=format_time(data.ended),
        status=STATUS_TITLES.get(data.status, data.status).lower(),
        versions=provenance_tables.list_versions(data),
    )


def describe_model(data: ReportData, model: CardModel) -> str:
    """Return what a model is and where it comes from, in two sentences."""
    task = data.study.task
    what = f"{task.kind.capitalize()} of {task.modality} images: {', '.join(task.foreground)}."
    hospitals = plural(len(data.joined), "hospital")
    return f"{what} It is {model.describe()}, from a federated study of {hospitals} by medfl."


def headline_scores(data: ReportData, model: CardModel) -> dict[str, float]:
    """Return the score of a model over all test patients, by its name; empty when none is told."""
    score = test_score(data, data.overall_test) if model.is_tested else math.nan
    return {} if math.isnan(score) else {f"test_{score_name(data).lower()}": round(score, 4)}


def to_markdown(table: Table) -> str:
    """Return a table as Markdown, its caption below it."""
    lines = [_markdown_line(table.columns), _markdown_line(["---"] * len(table.columns))]
    lines += [_markdown_line([row.head, *(cell.text for cell in row.cells)]) for row in table.rows]
    return "\n".join(lines + (["", escape_markdown(table.caption)] if table.caption else []))


def _markdown_line(texts: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(map(escape_markdown, texts))} |"


def _score_table(data: ReportData, model: CardModel) -> Table | None:
    if model.is_tested:
        return tables.test_table(data)
    if model.which == "final" or model.arm == "fine-tuned":
        return None
    if model.arm == "local":
        return _select_row(tables.matrix_table(data), f"{model.site} alone")
    return _select_row(tables.personal_table(data), str(model.site))


def _select_row(table: Table | None, head: str) -> Table | None:
    rows: tuple[Row, ...] = tuple(row for row in table.rows if row.head == head) if table else ()
    return replace(table, rows=rows) if table and rows else None


def _rests_on(data: ReportData, model: CardModel) -> str:
    name = score_name(data)
    if model.arm == "local":
        return f"{name} on the test patients of each hospital; none was used for training or for the choice of the round."
    patients = data.overall_test.patients if data.overall_test else 0
    where = "on the grid of the hospital's own masks" if data.study.task.kind == "segmentation" else "one vote for each patient"
    return (
        f"{plural(patients, 'test patient')}, none used for training or for the choice of the round; scored at the hospitals, "
        f"{where}. There are no confidence intervals; a ± tells how coarse the bins of an AUROC are."
    )
