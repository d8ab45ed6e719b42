"""A calibration as tables, and as a page with its reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping

from stepwell.calibrate.abstaining import Abstaining
from stepwell.calibrate.calibration import Calibration
from stepwell.evaluate.diagram import diagram_part
from stepwell.evaluate.markdown import markdown
from stepwell.evaluate.page import page, table
from stepwell.evaluate.reliability import Reliability
from stepwell.evaluate.sheets import ECE_NOTE, ERRORS, Sheet, error_cells, reliability_sheet


def head(found: Calibration) -> str:
    """What was calibrated, in one line."""
    fitted = found.calibrator
    kind = f", a {fitted.kind}" if fitted.kind else ""
    how = f"{fitted.method} on {fitted.dataset}" if not found.folds else fitted.method
    return f"{found.dataset}, {found.queries} queries, {fitted.stage}{kind}, {how}"


def lines(found: Calibration) -> list[str]:
    """What must be known of the numbers, one sentence each."""
    how = (
        f"each probability is by a curve fitted to the other {found.folds - 1} of {found.folds} "
        "parts of the queries"
        if found.folds
        else "nothing was fitted: these are the probabilities of the cascade file"
    )
    return [how, *found.remarks]


def calibration_sheets(found: Calibration) -> list[Sheet]:
    """All tables, in reading order."""
    made = [_errors(found), reliability_sheet(found.after)]
    if found.abstaining is not None:
        made.append(_abstaining(found.abstaining))
    return made


def calibration_markdown(found: Calibration) -> str:
    """It as one page of Markdown."""
    return markdown(head(found), lines(found), calibration_sheets(found))


def calibration_page(found: Calibration) -> str:
    """It as one HTML page."""
    parts: list[str] = []
    for sheet in calibration_sheets(found):
        parts.append(table(sheet))
        if sheet.title == "reliability":
            parts.append(diagram_part(found.after, found.before))
    return page(head(found), lines(found), parts)


def _errors(found: Calibration) -> Sheet:
    rows = []
    if found.before is not None:
        rows.append(("scores as they are", *error_cells(found.before)))
    tried: Mapping[str, Reliability] = found.by_method or {found.calibrator.method: found.after}
    for name, each in tried.items():
        chosen = " (chosen)" if len(tried) > 1 and name == found.calibrator.method else ""
        rows.append((f"{name}{chosen}", *error_cells(each)))
    rate = f"{found.after.brier_of_rate:.4f}"
    rows.append(("one probability for all", "", "", rate, ""))
    return Sheet(
        "",
        ("probabilities", *ERRORS),
        tuple(rows),
        note=f"{ECE_NOTE}; both by bootstrap over the queries",
    )


def _abstaining(found: Abstaining) -> Sheet:
    rows = [
        (
            f"{each.at_least:g}",
            str(each.abstained),
            "" if each.precision is None else f"{each.precision:.3f}",
            f"{each.recall:.3f}",
            f"{each.kept:.3f}",
            f"{each.passed:.2f}",
        )
        for each in found.thresholds
    ]
    return Sheet(
        "nothing relevant here",
        ("at least", "abstained", "precision", "recall", "kept", "passed"),
        tuple(rows),
        note=(
            f"{found.unanswerable} of {found.queries} queries have no answer; precision: of the "
            "abstained, those without one; recall: of those without one, the abstained; kept: of "
            "those with one, the answered; passed: mean documents a query; AUC of the best "
            f"candidate's probability {found.auc:.3f}"
        ),
    )
