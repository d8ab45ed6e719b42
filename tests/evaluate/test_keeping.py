import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from stepwell import BM25, Cascade, Corpus, CrossEncoder, Document, InputError, Keyword, TopK
from stepwell.evaluate import Dataset, evaluate

DATASET = Dataset(
    name="many",
    queries={f"q{n}": f"word{n} text" for n in range(8)},
    qrels={f"q{n}": {f"d{n}": 1} for n in range(8)},
)


class Counting:
    """A system that counts what it is asked, and is interrupted once."""

    def __init__(self, *, interrupted_at: int = 99) -> None:
        self.asked: list[str] = []
        self.interrupted_at = interrupted_at

    def __call__(self, text: str) -> list[str]:
        if len(self.asked) == self.interrupted_at:
            raise KeyboardInterrupt
        self.asked.append(text)
        return ["d3", f"d{text[4]}"]


def interrupted(path: Path) -> Counting:
    first = Counting(interrupted_at=5)
    with pytest.raises(KeyboardInterrupt):
        evaluate(first, DATASET, resume=path, key="counting")
    return first


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    """Queries that were answered are not asked again, and the report is that of a whole run."""
    path = tmp_path / "answers" / "kept.jsonl"
    interrupted(path)
    second = Counting()
    report = evaluate(second, DATASET, resume=path, key="counting")
    assert len([text for text in second.asked if not text.endswith("?")]) == 4
    whole = evaluate(Counting(), DATASET)
    assert (report.measures, report.interval95) == (whole.measures, whole.interval95)
    assert report.remarks == ("4 of 8 queries were asked by a run that was interrupted",)
    assert list(path.parent.iterdir()) == []


def test_a_line_that_was_not_finished_is_asked_again(tmp_path: Path) -> None:
    """Half a line, left by a process that was killed while writing, counts for none."""
    path = tmp_path / "kept.jsonl"
    interrupted(path)
    path.write_bytes(path.read_bytes()[:-9])
    second = Counting()
    report = evaluate(second, DATASET, resume=path, key="counting")
    assert len([text for text in second.asked if not text.endswith("?")]) == 5
    assert report.measures == evaluate(Counting(), DATASET).measures


def test_answers_hold_no_text(tmp_path: Path) -> None:
    """The file has ids and numbers only."""
    path = tmp_path / "kept.jsonl"
    interrupted(path)
    assert "text" not in path.read_text()


@pytest.mark.parametrize("content", ["id,value\n1,2\n", '{"version": 0, "key": "x"}\n'])
def test_another_file_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    """A file of something else, or of another version, is neither used nor written over."""
    path = tmp_path / "kept.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="another evaluation"):
        evaluate(Counting(), DATASET, resume=path, key="counting")
    assert path.read_text() == content


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    """The file of one data set is not taken for another."""
    path = tmp_path / "kept.jsonl"
    interrupted(path)
    with pytest.raises(InputError, match="another evaluation"):
        evaluate(Counting(), DATASET.sample(7), resume=path, key="counting")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """A second process that does the same evaluation is told so."""
    path = tmp_path / "kept.jsonl"
    with FileLock(f"{path}.lock"), pytest.raises(InputError, match="another process"):
        evaluate(Counting(), DATASET, resume=path, key="counting")


def stop_at_three(done: int) -> None:
    if done == 3:
        raise KeyboardInterrupt


@pytest.fixture
def corpus() -> Iterator[Corpus]:
    with Corpus.temporary(encoder=None) as made:
        made.add(Document(f"d{n}", f"word{n} text") for n in range(8))
        yield made


def begun(cascade: Cascade, path: Path, *, key: str | None = None) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluate(cascade, DATASET, resume=path, progress=stop_at_three, key=key)


@pytest.mark.parametrize(
    "other",
    [
        lambda c: [BM25(c, k=4), TopK(2)],
        lambda c: [BM25(c, k=5), TopK(3)],
        lambda c: [Keyword(c, k=5, filter={"lang": "en"}, name="bm25"), TopK(2)],
    ],
)
def test_answers_of_another_cascade_are_refused(
    corpus: Corpus, tmp_path: Path, other: Callable[[Corpus], list[Any]]
) -> None:
    """One option of one stage makes another cascade, though both print alike."""
    path = tmp_path / "kept.jsonl"
    begun(Cascade([BM25(corpus, k=5), TopK(2)]), path)
    with pytest.raises(InputError, match="another evaluation"):
        evaluate(Cascade(other(corpus)), DATASET, resume=path)
    assert evaluate(Cascade([BM25(corpus, k=5), TopK(2)]), DATASET, resume=path).remarks


def test_answers_from_a_changed_corpus_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    """As many documents as before are not the same documents."""
    path = tmp_path / "kept.jsonl"
    cascade = Cascade([BM25(corpus, k=5)])
    begun(cascade, path)
    corpus.delete(["d7"])
    corpus.add([Document("d8", "word7 text")])
    with pytest.raises(InputError, match="another evaluation"):
        evaluate(cascade, DATASET, resume=path)


def test_what_cannot_be_told_from_another_needs_a_key(corpus: Corpus, tmp_path: Path) -> None:
    """Functions are all alike from outside, so nothing is kept of one without a key."""
    path = tmp_path / "kept.jsonl"
    with pytest.raises(InputError, match="give key="):
        evaluate(Counting(), DATASET, resume=path)
    mine = Cascade([BM25(corpus, k=5), CrossEncoder(lambda query, texts: [0.0] * len(texts), k=2)])
    with pytest.raises(InputError, match="give key="):
        evaluate(mine, DATASET, resume=path)
    assert not path.exists()
    begun(mine, path, key="zeros")
    for changed in (mine, Cascade([*mine.stages, TopK(1)])):
        key = "zeros" if changed is not mine else "ones"
        with pytest.raises(InputError, match="another evaluation"):
            evaluate(changed, DATASET, resume=path, key=key)
    assert evaluate(mine, DATASET, resume=path, key="zeros").remarks


def test_all_that_a_cascade_showed_is_kept(tmp_path: Path) -> None:
    """A cascade whose answers were kept has the same report, stages and funnel as a whole run."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(Document(f"d{n}", f"word{n} text") for n in range(8))
        seen: list[int] = []

        def stop(done: int) -> None:
            seen.append(done)
            if done == 3:
                raise KeyboardInterrupt

        cascade = Cascade([BM25(corpus, k=3)])
        path = tmp_path / "kept.jsonl"
        with pytest.raises(KeyboardInterrupt):
            evaluate(cascade, DATASET, with_funnel=True, resume=path, progress=stop)
        report = evaluate(cascade, DATASET, with_funnel=True, resume=path)
        whole = evaluate(cascade, DATASET, with_funnel=True)
    assert json.dumps(report.funnel.to_dict()) == json.dumps(whole.funnel.to_dict())
    assert report.stages[0].recall == whole.stages[0].recall
