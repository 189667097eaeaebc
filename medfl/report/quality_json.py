"""JSON of a data check, for machines of the hospital. The schema is documented in ``docs/data.md``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import medfl
from medfl.data.findings import Finding
from medfl.data.layouts.table_description import TableDescription
from medfl.data.quality.class_balance import ClassCount, count_classes
from medfl.data.quality.facts import PERCENTILES, CaseFacts, SiteCheck
from medfl.report.disclosure import Disclosure

SCHEMA_VERSION = 1


def check_to_json(check: SiteCheck, shared: Disclosure) -> dict[str, Any]:
    """Return a check for JSON: pseudonyms, codes and numbers, no path, patient id, UID or date.

    Parameters
    ----------
    check : SiteCheck
        What was found.
    shared : Disclosure
        What the server would see.
    """
    classes = check.task.classes if check.task else ()
    splits = {name: [case for case in check.usable if case.split == name] for name in ("train", "validation", "test")}
    return {
        "schema": "medfl.data-check",
        "version": SCHEMA_VERSION,
        "medfl": medfl.__version__,
        "site": check.site,
        "study": check.study or None,
        "assumed": list(check.assumed),
        "task": check.task.model_dump(mode="json") if check.task else None,
        "fast": check.fast,
        "accepted": not shared.declined,
        "declined": shared.why or None,
        "summary": check.summary(),
        "files": check.files.to_json() if check.files else None,
        "usable": len(check.usable),
        "left-out": len(check.left_out),
        "reasons": check.count_exclusions(),
        "cases-by-split": {name: len(cases) for name, cases in splits.items()},
        "patients-by-split": {name: len({case.patient for case in cases}) for name, cases in splits.items()},
        "patient-ids": check.patient_ids,
        "class-balance": [_class_to_json(count) for count in count_classes(check.cases, check.task)],
        "table": _table_to_json(check.table) if check.table else None,
        "findings": [_finding_to_json(finding) for finding in check.all_findings],
        "cases": [_case_to_json(case, classes) for case in check.cases],
        "shared": {
            "declined": shared.declined or None,
            "join": dict(shared.numbers),
            "excluded": shared.excluded,
            "warnings": shared.warnings,
            "patient-ids": shared.patient_ids,
            "annotated": list(shared.annotated),
            "metrics": list(shared.metrics),
        },
    }


def _class_to_json(count: ClassCount) -> dict[str, Any]:
    return {
        "class": count.name,
        "cases": count.cases,
        "patients": count.patients,
        "patients-by-split": dict(count.by_split),
    }


def _table_to_json(table: TableDescription) -> dict[str, Any]:
    return {
        "rows": table.rows,
        "patients": table.patients,
        "label": table.label or None,
        "label-candidates": list(table.label_candidates),
        "split-candidates": list(table.split_candidates),
        "columns": [asdict(column) for column in table.columns],
    }


def _finding_to_json(finding: Finding) -> dict[str, str]:
    return {
        "code": finding.code,
        "level": finding.level,
        "case": finding.case,
        "what": finding.what,
        "fix": finding.fix,
    }


def _case_to_json(case: CaseFacts, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "case": case.case,
        "patient": case.patient,
        "usable": case.usable,
        "split": case.split or None,
        "codes": [finding.code for finding in case.findings],
        "kind": case.kind or None,
        "size": list(case.size),
        "prepared-size": list(case.prepared),
        "spacing-mm": [round(size, 4) for size in case.spacing],
        "intensity": {f"p{percent}": round(value, 4) for percent, value in zip(PERCENTILES, case.intensity, strict=False)},
        "classes": {classes[index]: round(amount, 6) for index, amount in case.amounts},
        "device": {
            "manufacturer": case.device.manufacturer,
            "model": case.device.model,
            "field-tesla": case.device.field_strength or None,
        },
    }
