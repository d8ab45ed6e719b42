"""A cascade is calibrated on judged queries, measured on others, and says what it lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import stepwell as sw
from stepwell.calibrate import calibrate, calibrated, check, gather, hide
from stepwell.calibrate.scored import Pool, without_probability
from stepwell.calibrate.sheets import calibration_markdown, calibration_page
from stepwell.calibrator import Calibrator, Platt
from stepwell.errors import ConfigurationError, InputError
from stepwell.evaluate import Dataset, evaluate
from stepwell.evaluate.markdown import report_markdown
from stepwell.evaluate.page import report_page
from stepwell.testing import WordScorer

pytest.importorskip("scipy", reason="fitting needs scipy, the extra eval")


def test_scores_become_probabilities(cascade: sw.Cascade, dataset: Dataset) -> None:
    """The error on unseen queries is far below that of the scores as they are."""
    found = calibrate(cascade, dataset)
    assert found.before is not None
    assert found.after.ece < found.before.ece / 3
    assert found.after.brier < found.after.brier_of_rate
    fitted = found.calibrator
    about = (fitted.stage, fitted.kind, fitted.model, fitted.depth, fitted.relevant)
    assert about[:4] == ("words", "similarity", "shared words", 10)
    assert 30 < fitted.relevant <= 40
    assert found.folds == 5
    assert set(found.by_method) == {"platt", "isotonic"}
    assert json.dumps(found.to_dict())
    hit = found.cascade.search(dataset.queries["q0"]).hits[0]
    assert 0.3 < hit.scores["probability"] <= 1


def test_it_is_the_stage_before_the_blend_that_is_calibrated(
    cascade: sw.Cascade, dataset: Dataset
) -> None:
    """The scores are the stage's own, over candidates that the whole cascade answers."""
    pool = gather(cascade, dataset)
    hits = cascade.search(dataset.queries["q3"]).hits
    assert pool.scores[pool.query == 3].tolist() == [hit.scores["words"] for hit in hits]
    assert pool.relevant[pool.query == 3].tolist() == [hit.id == "d3" for hit in hits]
    assert pool.stage == "words"
    assert gather(cascade, dataset, stage="bm25").kind == "lexical"


def test_no_query_is_measured_by_a_curve_that_saw_it(
    cascade: sw.Cascade, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fit leaves out whole queries, and every query is left out once."""
    from stepwell.calibrate import calibration

    pool = gather(cascade, dataset)
    fold = calibration._folds(pool, 0)
    parts = {at: set(fold[pool.query == at].tolist()) for at in np.unique(pool.query)}
    assert all(len(each) == 1 for each in parts.values())
    seen: list[int] = []
    fit = calibration.fit

    def counted(scores, relevant, *, method):
        seen.append(len(scores))
        return fit(scores, relevant, method=method)

    monkeypatch.setattr(calibration, "fit", counted)
    calibration._unseen(pool, fold, "platt")
    assert seen == [int((fold != part).sum()) for part in range(5)]


def test_a_query_without_an_answer_gets_none(corpus: sw.Corpus, dataset: Dataset) -> None:
    """With half of the answers hidden, a threshold tells which questions have none."""
    halved = hide(dataset, 0.5)
    assert halved.documents is not None
    left = list(halved.documents.read().documents)
    assert len(left) == 100
    assert halved.documents.key() != ("set",)
    with sw.Corpus.temporary(encoder=None) as fewer:
        fewer.add(left)
        stages = [sw.BM25(fewer, 20), sw.CrossEncoder(WordScorer(), 10, name="words")]
        found = calibrate(sw.Cascade(stages), halved, at_least=0.3)
        assert found.abstaining is not None
        assert found.abstaining.unanswerable == 20
        assert found.abstaining.auc > 0.9
        row = next(each for each in found.abstaining.thresholds if each.at_least == 0.3)
        assert row.precision is not None
        assert row.precision > 0.7
        silent = [found.cascade.search(text) for text in halved.queries.values()]
    empty = [each for each in silent if not each.hits]
    assert len(empty) >= 10
    assert not any(each.degraded for each in empty)
    assert all(each.empty_because.startswith("nothing relevant: ") for each in empty)
    with pytest.raises(InputError, match="above 0 and below 1"):
        hide(dataset, 1.0)


def test_a_calibrator_is_checked_on_other_queries(
    cascade: sw.Cascade, dataset: Dataset, tmp_path: Path
) -> None:
    """Through a file; nothing is fitted, and its threshold hides nothing from the measure."""
    half = dataset.sample(20)
    others = dataset._only(set(dataset.queries) - set(half.queries))
    made = calibrate(cascade, half, at_least=0.5)
    found = check(made.cascade, others)
    assert found.folds == 0
    assert found.calibrator == made.calibrator
    assert found.queries == 20
    assert sum(each.n for each in found.after.bins) > 150
    with pytest.raises(ConfigurationError, match="not calibrated"):
        check(cascade, others)


def test_a_calibrated_cascade_is_calibrated_anew(cascade: sw.Cascade, dataset: Dataset) -> None:
    """The old probabilities are replaced, and their threshold takes nothing from the new fit."""
    old = Calibrator(Platt(1.0, -9.0), stage="words")
    found = calibrate(calibrated(cascade, old, at_least=0.9), dataset, method="platt")
    assert [each.name for each in found.cascade.stages] == ["bm25", "words", "probability"]
    assert found.calibrator == calibrate(cascade, dataset, method="platt").calibrator


def test_eval_says_the_calibration_error(cascade: sw.Cascade, dataset: Dataset) -> None:
    """A calibrated cascade's report has it, in words, in JSON and as a diagram; others do not."""
    pytest.importorskip("ir_measures", reason="needs the extra eval")
    made = calibrate(cascade, dataset, at_least=0.3)
    report = evaluate(made.cascade, dataset)
    assert report.calibration is not None
    assert report.calibration.ece < 0.1
    assert sum(each.n for each in report.calibration.bins) == made.calibrator.candidates
    assert report.to_dict()["calibration"]["ece"] == report.calibration.ece
    assert "## calibration" in report_markdown(report)
    assert "<circle" in report_page(report)
    silent = calibrated(cascade, Calibrator(Platt(1.0, -9.0), stage="words"), at_least=0.9)
    assert "40 queries were answered with nothing" in evaluate(silent, dataset).remarks[-1]
    bare = evaluate(cascade, dataset)
    assert bare.calibration is None
    assert "calibration" not in bare.to_dict()


def test_eval_measures_probabilities_over_all_judged_queries(
    cascade: sw.Cascade, dataset: Dataset
) -> None:
    """Queries without an answer count, so that the error is the one that `check` finds."""
    pytest.importorskip("ir_measures", reason="needs the extra eval")
    qrels = {
        id: grades if at % 2 else dict.fromkeys(grades, 0)
        for at, (id, grades) in enumerate(dataset.qrels.items())
    }
    half = Dataset.of("half", dataset.queries, qrels)
    made = calibrate(cascade, half, method="platt").cascade
    report = evaluate(made, half, with_funnel=True)
    assert report.calibration == check(made, half).after
    assert (report.queries, len(report.ms)) == (20, 20)
    assert report.measures == evaluate(made, half.answerable()).measures
    assert "those without an answer too" in report.remarks[-1]
    assert "with a relevant document alone" in evaluate(made, half.answerable()).remarks[-1]


def test_the_report_shows_before_and_after(cascade: sw.Cascade, dataset: Dataset) -> None:
    """The page has both on one diagram; Markdown has the same tables."""
    found = calibrate(cascade, dataset)
    shown = calibration_page(found)
    assert shown.count("<circle") == len(found.after.bins)
    assert "scores as they are" in shown
    assert f"{found.after.ece:.4f}" in calibration_markdown(found)


def test_scores_within_a_query_come_with_a_warning(corpus: sw.Corpus, dataset: Dataset) -> None:
    """A fused score cannot tell that nothing is relevant: the report says so."""
    fused = sw.Hybrid([sw.BM25(corpus), sw.BM25(corpus, name="again")], 10)
    found = calibrate(sw.Cascade([fused]), dataset)
    assert any("compare the candidates of one query" in each for each in found.remarks)


# -- what cannot be calibrated ------------------------------------------------------------------


def test_few_judgements_come_with_a_warning(cascade: sw.Cascade, dataset: Dataset) -> None:
    """A curve of a handful of queries is made, and called too little to rely on."""
    few = calibrate(cascade, dataset.sample(20))
    assert few.remarks[0].startswith("too few to rely on: 20 queries, ")
    assert not any("too few" in each for each in calibrate(cascade, dataset).remarks)


def test_one_class_is_refused(cascade: sw.Cascade, dataset: Dataset) -> None:
    """Judged candidates alone are all relevant here; nothing relevant may be other ids."""
    with pytest.raises(InputError, match=r"all .* judged relevant .*leave judged-only off"):
        calibrate(cascade, dataset, judged_only=True)
    other = {id: {f"x{at}": 1} for at, id in enumerate(dataset.queries)}
    with pytest.raises(InputError, match=r"none of the .* candidates .* ids differ"):
        calibrate(cascade, replace(dataset, qrels=other))
    zeros = {id: dict.fromkeys(grades, 0) for id, grades in dataset.qrels.items()}
    with pytest.raises(InputError, match=r"none of the .* candidates is judged relevant"):
        calibrate(cascade, replace(dataset, qrels=zeros))


def test_one_query_is_refused(cascade: sw.Cascade, dataset: Dataset) -> None:
    """No query is measured by a curve that was fitted to it, so it takes two."""
    with pytest.raises(InputError, match="it takes two"):
        calibrate(cascade, dataset._only({"q1"}))


def test_too_few_queries_are_told_from_scores_that_say_nothing() -> None:
    """All queries can be fitted, but not without one of them: the message says so."""
    from stepwell.calibrate import calibration

    scores = np.array([5.0, 0.0, 0.0, 1.0])
    relevant = np.array([True, False, True, False])
    query = np.array([0, 0, 1, 1])
    pool = gather_of(scores, relevant, query)
    assert calibration.fit(scores, relevant, method="platt").slope > 0
    with pytest.raises(InputError, match=r"without part . of 2 .* too few: judge more"):
        calibration._unseen(pool, calibration._folds(pool, 0), "platt")


def gather_of(
    scores: NDArray[np.float64], relevant: NDArray[np.bool_], query: NDArray[np.int_]
) -> Pool:
    return Pool("s", "logit", "", scores, relevant, query, ("q0", "q1"), np.array([True, True]))


def test_equal_scores_are_refused(corpus: sw.Corpus, dataset: Dataset) -> None:
    """A model that says one thing to all tells nothing apart."""
    same = sw.CrossEncoder(lambda query, texts: [0.5] * len(texts), 10, name="same")
    with pytest.raises(InputError, match=r"scores are 0\.5: they tell nothing apart"):
        calibrate(sw.Cascade([sw.BM25(corpus, 20), same]), dataset)


def test_a_stage_that_gave_nothing_is_refused(corpus: sw.Corpus, dataset: Dataset) -> None:
    """A model that fails leaves no score to fit."""

    def broken(query: str, texts: list[str]) -> list[float]:
        raise OSError("gone")

    stages = [sw.BM25(corpus, 20), sw.CrossEncoder(broken, 10, name="broken")]
    with pytest.raises(InputError, match="broken scored no candidate"):
        calibrate(sw.Cascade(stages), dataset)


def test_unknown_names_are_refused(cascade: sw.Cascade, dataset: Dataset) -> None:
    """Of a stage, of a method; and a cascade whose scores nobody knows."""
    with pytest.raises(ConfigurationError, match=r"no stage is named 'dense'.*bm25, words"):
        calibrate(cascade, dataset, stage="dense")
    with pytest.raises(ConfigurationError, match="platt, isotonic or auto"):
        calibrate(cascade, dataset, method="beta")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no stage of the cascade says"):
        calibrate(sw.Cascade([sw.TopK(3)]), dataset)


def test_calibrating_keeps_the_shadow(cascade: sw.Cascade) -> None:
    """What runs beside live traffic goes on beside the calibrated cascade, and beside the bare."""
    beside = sw.Cascade(cascade.stages, shadow=sw.Cascade(cascade.stages[:1]))
    made = calibrated(beside, Calibrator(Platt(1, 0), stage="words"))
    assert made.shadow is beside.shadow
    assert without_probability(made).shadow is beside.shadow
