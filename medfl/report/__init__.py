"""The report of a run: one self-contained HTML file."""

from medfl.report.report_files import write_report

__all__ = ["write_report"]
