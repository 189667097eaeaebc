"""Files of a report in the folder of a run: the page, and where it does not show every hospital, the numbers of all."""

from __future__ import annotations

from pathlib import Path

from medfl.errors import RunError
from medfl.report.many_sites import shows_part
from medfl.report.render import NUMBERS_FILE, render, report_content
from medfl.report.report_data import read_report_data
from medfl.report.report_numbers import report_as_csv
from medfl.system.files import translate_disk_errors, write_file

REPORT_FILE = "report.html"


def write_report(run: Path) -> Path:
    """Write ``report.html`` with mode 0600 into the folder of a run, replacing an older one.

    Parameters
    ----------
    run : Path
        Folder of a run that completed, failed, was stopped, or is still going on.

    Returns
    -------
    Path
        The page, which holds its style, charts and pictures itself. Of many hospitals it shows percentiles and a few;
        ``report.csv`` beside it has the numbers of all.

    Raises
    ------
    RunError
        When the folder cannot be read or written; ``REPORT-FAILED`` when the page cannot be made.
    """
    data = read_report_data(run)
    try:
        content = report_content(data)
        page = render(data, content)
        numbers = report_as_csv(content) if shows_part(data) else ""
    except Exception as error:  # a fault of medfl's own must not look like one of the run
        what = f"the report cannot be made ({type(error).__name__}); the run itself is as it was, in {run}."
        raise RunError("REPORT-FAILED", what, f"Update medfl, then write it with 'medfl report {run}'.") from error
    with translate_disk_errors("the report", f"write the report again with 'medfl report {run}'; the run itself is kept"):
        if numbers:
            write_file(run / NUMBERS_FILE, numbers.encode(), private=True)
        write_file(run / REPORT_FILE, page.encode(), private=True)  # it shows images of patients
    return run / REPORT_FILE
