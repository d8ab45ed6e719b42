from __future__ import annotations

import math
import pickle
from copy import deepcopy

import numpy as np
import pytest

from stepwell import BM25, BiEncoder, Candidates, Cascade, ConfigurationError, Corpus, Document
from stepwell.documents import InMemory
from stepwell.testing import WordEncoder


class Counting(WordEncoder):
    """Notes which passages it was asked to encode."""

    def __init__(self, **options):
        super().__init__(**options)
        self.passages = []

    def encode(self, texts, /, *, kind="passage"):
        if kind == "passage":
            self.passages += texts
        return super().encode(texts, kind=kind)


DOCUMENTS = [
    Document("cat", "the office cat"),
    Document("logs", "rotate all logs"),
    Document("disk", "rotate the disk"),
]


def test_it_scores_by_cosine_and_cuts():
    stage = BiEncoder(encoder=WordEncoder(), k=2, blend=1.0)
    after = stage.run(Candidates.of("rotate logs", DOCUMENTS))
    assert after.ids.tolist() == ["logs", "disk"]
    rows = WordEncoder().encode(["rotate logs", "rotate all logs"])
    assert after.score[0] == pytest.approx(float(rows[0] @ rows[1]), abs=1e-6)


def test_it_blends_with_the_order_before():
    before = Candidates.of("rotate logs", DOCUMENTS).scored("s", [3.0, 2.0, 1.0])
    light = BiEncoder(encoder=WordEncoder(), blend=0.01).run(before)
    assert light.ids.tolist() == ["cat", "logs", "disk"]
    heavy = BiEncoder(encoder=WordEncoder(), blend=0.99).run(before)
    assert heavy.ids[0] == "logs"
    assert light.scores["s"].tolist() == [3.0, 2.0, 1.0]


def test_candidates_of_the_corpus_cost_no_encoding():
    encoder = Counting()
    with Corpus.temporary(encoder=encoder) as corpus:
        corpus.add(DOCUMENTS)
        encoder.passages.clear()
        result = Cascade([BM25(corpus), BiEncoder(corpus, blend=1.0)]).search("rotate logs")
        assert result.ids == ["logs", "disk"]
        assert encoder.passages == []


def test_what_is_brought_is_encoded_once_by_content():
    encoder = Counting()
    stage = BiEncoder(encoder=encoder)
    stage.run(Candidates.of("a", DOCUMENTS))
    stage.run(Candidates.of("b", [Document("other id", "the office cat"), *DOCUMENTS[1:]]))
    assert sorted(encoder.passages) == sorted(document.text for document in DOCUMENTS)


def test_a_mixed_set_takes_stored_vectors_for_what_the_corpus_answers():
    """What a foreign source has in front of the corpus is encoded, the rest is looked up."""
    encoder = Counting()
    with Corpus.temporary(encoder=encoder) as corpus:
        corpus.add(DOCUMENTS)
        encoder.passages.clear()
        foreign = InMemory([Document("x", "rotate rotate"), Document("cat", "another cat")])
        base = Candidates.start("rotate").recalled("a", ["x"], [1], source=foreign)
        mixed = base.recalled("b", ["x", "cat", "logs"], [3, 2, 1], source=corpus)
        after = BiEncoder(corpus, blend=1.0).run(mixed)
        assert sorted(encoder.passages) == ["another cat", "rotate rotate"]
        assert after.ids[0] == "x"
        assert np.isfinite(after.scores["bi-encoder"]).all()


def test_another_encoder_than_the_corpuss_does_not_use_its_vectors(corpus):
    other = Counting(dimension=8, name="other")
    result = Cascade([BM25(corpus), BiEncoder(corpus, encoder=other, k=3)]).search("rotate logs")
    assert len(result) == 3
    assert "Logs rotate daily; run logrotate to rotate the logs now." in other.passages


def test_a_read_only_corpus_serves_too(tmp_path):
    with Corpus.open(tmp_path / "c", encoder=WordEncoder()) as corpus:
        corpus.add(DOCUMENTS)
        written = Cascade([BM25(corpus), BiEncoder(corpus)]).search("rotate logs")
    with Corpus.open(tmp_path / "c", encoder=WordEncoder(), read_only=True) as corpus:
        result = Cascade([BM25(corpus), BiEncoder(corpus)]).search("rotate logs")
        assert [hit.score for hit in result] == [hit.score for hit in written]


def test_what_the_corpus_has_no_vector_for_is_encoded_here(monkeypatch):
    """As in a corpus that may not be written, which keeps no new ones."""
    encoder = Counting()
    with Corpus.temporary(encoder=encoder) as corpus:
        corpus.add(DOCUMENTS)
        encoder.passages.clear()
        expected = Cascade([BM25(corpus), BiEncoder(corpus)]).search("rotate logs")
        rows = corpus.vectors_of(["logs", "disk"])
        lacking = {"logs": rows[0] * np.nan, "disk": rows[1]}
        monkeypatch.setattr(corpus, "vectors_for", lambda ids: np.stack([lacking[i] for i in ids]))
        result = Cascade([BM25(corpus), BiEncoder(corpus)]).search("rotate logs")
        assert encoder.passages == ["rotate all logs"]
        assert result.ids == expected.ids
        assert not result.degraded


def test_a_document_deleted_between_two_stages_stays_below():
    """Outside a cascade, which answers from one state, nothing holds what is deleted."""
    with Corpus.temporary(encoder=WordEncoder()) as corpus:
        corpus.add(DOCUMENTS)
        recalled = BM25(corpus).run(Candidates.start("rotate logs"))
        assert recalled.ids.tolist() == ["logs", "disk"]
        corpus.delete(["logs"])
        scored = BiEncoder(corpus, blend=1.0).run(recalled)
        assert scored.ids.tolist() == ["disk", "logs"]
        assert corpus.get("logs") is None


def test_at_the_deadline_what_was_not_encoded_stays_below():
    before = Candidates.of("rotate logs", DOCUMENTS, deadline=-math.inf)
    after = BiEncoder(encoder=WordEncoder()).run(before)
    assert after.ids.tolist() == ["cat", "logs", "disk"]
    assert after.notes["unscored"] == 3


def test_a_deleted_document_was_not_left_by_the_deadline():
    """Only those that are still there count as unscored; with none of them there is no note."""
    before = Candidates.of("rotate logs", DOCUMENTS, deadline=-math.inf)
    for ids, notes in ((["gone", "cat"], {"unscored": 1}), (["gone"], {})):
        mixed = before.recalled("r", ids, [1.0] * len(ids), source=before.source)
        assert BiEncoder(encoder=WordEncoder()).run(mixed).notes == notes


def test_a_blank_query_keeps_the_order():
    after = BiEncoder(encoder=WordEncoder(), k=2).run(Candidates.of(" ", DOCUMENTS))
    assert after.ids.tolist() == ["cat", "logs"]


def test_the_embedded_encoder_is_the_default_and_copies_carry_no_weights():
    stage = BiEncoder(blend=1.0)
    brought = Candidates.of(
        "the capital of France",
        [Document("bus", "The bus leaves at six."), Document("paris", "Paris, France's capital.")],
    )
    first = stage.run(brought)
    assert first.ids[0] == "paris"
    frozen = pickle.dumps(stage)
    assert len(frozen) < 10_000
    for copy in (pickle.loads(frozen), deepcopy(stage)):
        assert copy.run(brought).score.tolist() == first.score.tolist()


def test_a_stage_over_a_corpus_pickles_by_its_path(tmp_path):
    with Corpus.open(tmp_path / "c", encoder=WordEncoder()) as corpus:
        corpus.add(DOCUMENTS)
        stages = [BM25(corpus), BiEncoder(corpus)]
        expected = Cascade(stages).search("rotate logs")
        again = pickle.loads(pickle.dumps(stages))
        assert again[0].corpus is again[1].corpus
        with again[0].corpus:
            result = Cascade(again).search("rotate logs")
        assert [(h.id, h.score) for h in result] == [(h.id, h.score) for h in expected]


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"blend": -1}, {"corpus": "path"}, {"encoder": object()}]
)
def test_what_is_built_wrong_is_refused(options):
    with pytest.raises(ConfigurationError):
        BiEncoder(**options)


def test_a_corpus_without_an_encoder_needs_one():
    with Corpus.temporary(encoder=None) as bare:
        bare.add(DOCUMENTS)
        with pytest.raises(ConfigurationError, match="no encoder at hand"):
            BiEncoder(bare)
        stage = BiEncoder(bare, encoder=WordEncoder(), blend=1.0)
        assert Cascade([BM25(bare), stage]).search("rotate logs").ids == ["logs", "disk"]


def test_repr():
    assert (
        repr(BiEncoder(encoder=WordEncoder(), blend=0.5)) == "BiEncoder('words', k=50, blend=0.5)"
    )


def test_what_comes_from_elsewhere_takes_the_corpuss_vector_of_the_same_text():
    """A document that another source found costs no encoding where the corpus holds its text."""
    encoder = Counting()
    with Corpus.temporary(encoder=encoder) as corpus:
        corpus.add(DOCUMENTS)
        encoder.passages.clear()
        brought = [Document("cat", "the office cat"), Document("logs", "a newer text")]
        after = BiEncoder(corpus, blend=1.0).run(Candidates.of("office cat", brought))
    assert encoder.passages == ["a newer text"]
    assert after.ids.tolist() == ["cat", "logs"]


def test_a_cosine_is_the_same_whatever_else_is_in_the_set():
    """To the last bit: what was recorded once can be replayed for any part of it."""
    rng = np.random.default_rng(0)
    documents = [Document(str(at), " ".join(map(str, rng.integers(0, 50, 9)))) for at in range(90)]
    with Corpus.temporary(encoder=WordEncoder()) as corpus:
        corpus.add(documents)
        stage = BiEncoder(corpus, k=None, blend=1.0)
        whole = stage.run(Candidates.of("3 1 4 15 9 2", documents))
        known = dict(zip(whole.ids, whole.scores["bi-encoder"]))
        for n in (1, 2, 3, 5, 50, 89):
            some = stage.run(Candidates.of("3 1 4 15 9 2", documents[-n:]))
            assert [known[id] for id in some.ids] == some.scores["bi-encoder"].tolist()
