"""Vectors are searched exactly, shared by equal texts and fetched by id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stepwell import Corpus, CorpusError, Document, InputError
from stepwell.corpus.vectors import VectorFile, halved, search_exact, widened
from tests.corpus.encoders import BagOfWords, Failing

TEXTS = [f"text {n} on topic {n % 7} and {n % 11}" for n in range(600)]


def _corpus(**options: object) -> Corpus:
    corpus = Corpus.temporary(encoder=BagOfWords(), **options)  # type: ignore[arg-type]
    corpus.add(Document(str(at), text, {"n": at}) for at, text in enumerate(TEXTS))
    return corpus


def _oracle(matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
    unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    return (matrix.astype(np.float64) @ unit).astype(np.float32).astype(np.float64)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_search_is_exact(data: st.DataObject) -> None:
    """Any float16 matrix is searched as numpy in float64 does it, subnormal numbers included."""
    n, d = data.draw(st.integers(1, 700)), data.draw(st.sampled_from([1, 3, 64]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    matrix = halved(rng.standard_normal((n, d)).astype(np.float32) ** 5)
    query = rng.standard_normal(d).astype(np.float32)
    slots = np.sort(rng.choice(n, data.draw(st.integers(0, n)), replace=False)).astype(np.int64)
    k = data.draw(st.integers(1, 2 * n))
    at, scores = search_exact(matrix, query, slots, k)
    expected = _oracle(matrix[slots], query)
    best = np.argsort(-expected, kind="stable")[:k]
    assert at.tolist() == best.tolist()
    assert scores.tolist() == expected[best].tolist()


@settings(max_examples=30, deadline=None)
@given(arrays(np.float16, (5, 4), elements=st.floats(-1, 1, width=16)))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: np.ndarray
) -> None:
    """Vectors come back from the file bit for bit, also when it grew in between."""
    file = VectorFile(tmp_path_factory.mktemp("v") / "f16", dimension=4)
    file.write(0, rows[:2])
    assert file.view(2).tobytes() == rows[:2].tobytes()
    file.write(2, rows[2:])
    assert file.view(5).tobytes() == rows.tobytes()
    with pytest.raises(ValueError, match="holds 5"):
        file.view(6)


def test_a_corpus_finds_what_numpy_finds() -> None:
    """`search_vector` has numpy's order and scores, with and without a filter."""
    encoder = BagOfWords()
    matrix = halved(encoder.encode(TEXTS))
    query = encoder.encode(["topic 3 and 5"])[0]
    expected = _oracle(matrix, query)
    with _corpus() as corpus:
        found = corpus.search_vector(query * 7, 25)
        assert found.ids == [str(at) for at in np.argsort(-expected, kind="stable")[:25]]
        assert found.scores == pytest.approx(np.sort(expected)[::-1][:25], abs=1e-6)
        odd = corpus.search_vector(query, 25, filter={"n": {"$gte": 500}})
        order = 500 + np.argsort(-expected[500:], kind="stable")[:25]
        assert odd.ids == [str(at) for at in order]
        assert len(corpus.search_vector(query, 10_000)) == len(TEXTS)


def test_vectors_are_fetched_in_the_order_asked_for() -> None:
    """Stored vectors are those of the encoder to float16 precision; NaN where there is none."""
    with _corpus() as corpus:
        vectors = corpus.vectors_of(["5", "nobody", "3", "5"])
        assert vectors.dtype == np.float32
        assert np.isnan(vectors[1]).all()
        expected = BagOfWords().encode([TEXTS[5], TEXTS[3]])
        assert vectors[[0, 2, 3]] == pytest.approx(expected[[0, 1, 0]], abs=1e-3)
        assert corpus.vectors_of([]).shape == (0, 64)


def test_equal_texts_share_a_vector() -> None:
    """A text is encoded once, however many documents have it, also after it was deleted."""
    encoder = BagOfWords()
    with Corpus.temporary(encoder=encoder) as corpus:
        corpus.add([Document("a", "same"), Document("b", "same"), Document("c", "other")])
        assert encoder.encoded == 2
        corpus.delete(["a", "b"])
        corpus.add([Document("d", "same")])
        corpus.upsert([Document("c", "other", {"changed": True})])
        assert encoder.encoded == 2
        assert corpus.verify().ok


def test_a_vector_of_nan_is_refused_and_nothing_written() -> None:
    """The error names the document and the encoder; its batch is not written, nor is it later."""
    with Corpus.temporary(encoder=Failing()) as corpus:
        corpus.add([Document("a", "good")])
        with pytest.raises(InputError, match=r"bag-of-words.*'c'"):
            corpus.add([Document("b", "fine"), Document("c", "poison")])
        assert [document.id for document in corpus] == ["a"]
        assert corpus.search_text("fine", 5).ids == []
        assert corpus.verify().ok


def test_an_encoder_of_another_shape_is_refused() -> None:
    """An encoder that gives another dimension than it says is named."""
    encoder = BagOfWords()
    with Corpus.temporary(encoder=encoder) as corpus:
        encoder.dimension = 32
        with pytest.raises(InputError, match=r"\(1, 32\).*\(1, 64\)"):
            corpus.add([Document("a", "x")])


@pytest.mark.parametrize("query", [np.zeros(3), np.full(64, np.nan), np.ones((1, 64))])
def test_a_query_vector_is_checked(query: np.ndarray) -> None:
    """A query of another dimension, or with NaN in it, is an error."""
    with _corpus() as corpus, pytest.raises(InputError, match="query vector"):
        corpus.search_vector(query, 3)


def test_without_an_encoder_there_are_no_vectors() -> None:
    """Whoever asks for vectors is told how to get some."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Document("a", "x")])
        for ask in (lambda: corpus.search_vector([1.0], 1), lambda: corpus.vectors_of(["a"])):
            with pytest.raises(CorpusError, match="reencode"):
                ask()


def test_vectors_that_are_missing_are_made_and_kept(tmp_path: Path) -> None:
    """`vectors_for` encodes what lost its vector while the encoder was away, and keeps it."""
    with Corpus.open(tmp_path / "c", encoder=BagOfWords()) as corpus:
        corpus.add(Document(str(at), text) for at, text in enumerate(TEXTS[:20]))
    (tmp_path / "c" / "vectors-1.f16").unlink()
    with Corpus.open(tmp_path / "c", encoder=None) as corpus:
        assert "20 vectors were damaged" in corpus.repaired[0]
        assert np.isnan(corpus.vectors_for(["3"])).all()
    encoder = BagOfWords()
    with Corpus.open(tmp_path / "c", encoder=encoder) as corpus:
        assert encoder.encoded == 20
        assert not np.isnan(corpus.vectors_for(["3"])).any()
        assert corpus.verify().ok


def test_another_encoder_takes_over(tmp_path: Path) -> None:
    """Opening with another encoder says how to re-encode; that works, and is done once a text."""
    path = tmp_path / "c"
    with Corpus.open(path, encoder=BagOfWords()) as corpus:
        corpus.add(Document(str(at), text) for at, text in enumerate([*TEXTS, TEXTS[0]]))
    other = BagOfWords(name="other", dimension=32)
    with pytest.raises(CorpusError, match=r"'bag-of-words'.*'other'.*reencode"):
        Corpus.open(path, encoder=other)
    seen: list[int] = []
    with Corpus.open(path, encoder=None) as corpus:
        assert corpus.reencode(other, progress=seen.append) == len(TEXTS) == seen[-1]
        assert corpus.vectors_of(["0"]).shape == (1, 32)
        assert corpus.search_vector(other.encode([TEXTS[9]])[0], 1).ids == ["9"]
        corpus.add([Document("new", "a new text")])
        assert corpus.verify().ok
    with Corpus.open(path, encoder=other) as corpus:
        assert len(corpus) == len(TEXTS) + 2
        assert len(list(path.glob("vectors-*"))) == 1


def test_reencoding_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    """After a failure the old vectors answer, and a second call does only the rest."""
    path = tmp_path / "c"
    old = BagOfWords()
    with Corpus.open(path, encoder=old) as corpus:
        corpus.add(Document(str(at), text) for at, text in enumerate(TEXTS))

        def stop(done: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            corpus.reencode(BagOfWords(name="other"), progress=stop)
        assert corpus.search_vector(old.encode([TEXTS[9]])[0], 1).ids == ["9"]
        assert corpus.encoder is old
        rest = BagOfWords(name="other")
        assert corpus.reencode(rest) == len(TEXTS) - 256 == rest.encoded
        assert corpus.verify().ok


def test_a_corpus_without_vectors_can_be_given_some_and_they_can_go() -> None:
    """`reencode` adds vectors to a corpus made without, and None takes them away."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Document("a", "rotate"), Document("b", "page")])
        corpus.reencode(BagOfWords())
        assert corpus.search_vector(BagOfWords().encode(["page"])[0], 1).ids == ["b"]
        corpus.reencode(None)
        assert corpus.encoder is None
        corpus.add([Document("c", "x")])
        assert corpus.verify().ok


def test_a_corpus_re_encoded_elsewhere_must_be_opened_again(tmp_path: Path) -> None:
    """Who holds the old encoder is told, rather than answered from vectors of the new one."""
    with Corpus.open(tmp_path / "c", encoder=BagOfWords()) as here:
        here.add([Document("a", "x")])
        with Corpus.open(tmp_path / "c", encoder=None) as there:
            there.reencode(BagOfWords(name="other"))
        for ask in (lambda: here.vectors_of(["a"]), lambda: here.add([Document("b", "y")])):
            with pytest.raises(CorpusError, match=r"'other'.*open it again"):
                ask()
        assert here.search_text("x", 1).ids == ["a"]


def test_every_finite_half_is_widened_exactly() -> None:
    """All float16 numbers, subnormal ones and both zeros too, come out as numpy widens them."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(-1, 1)
    made, wanted = widened(finite), finite.astype(np.float32)
    assert made.dtype == np.float32
    assert (made.view(np.int32) == wanted.view(np.int32)).all()
