import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepwell import Corpus, CorpusError, Document, InputError
from stepwell.ingest import Reading, Synced, read_folder, sync
from stepwell.ingest.places import keep_place
from stepwell.ingest.sync import BATCH, SOURCE
from stepwell.models.protocols import Kind, Vectors
from tests.corpus.encoders import BagOfWords


def reading(*documents: Document, source: str = "here") -> Reading:
    return Reading(source, documents, len(documents))


def test_changed_passages_are_replaced_and_vanished_ones_removed(tmp_path: Path) -> None:
    """Reading a folder again leaves what the folder holds now, and says what it did."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# A\n\nOne.\n\n# B\n\nTwo.\n")
    (docs / "b.md").write_text("Stays.")
    (docs / "c.md").write_text("Goes.")
    with Corpus.open(tmp_path / "c.stepwell", encoder=None) as corpus:
        assert sync(corpus, read_folder(docs)) == Synced(added=4)
        assert sync(corpus, read_folder(docs)) == Synced(unchanged=4)
        (docs / "a.md").write_text("# A\n\nOne, changed.\n")
        (docs / "c.md").unlink()
        (docs / "d.md").write_text("New.")
        assert sync(corpus, read_folder(docs)) == Synced(1, 1, 1, 2)
        assert {d.id: d.text for d in corpus} == {
            "a.md#0": "A\nOne, changed.",
            "b.md#0": "Stays.",
            "d.md#0": "New.",
        }
        assert corpus.search_text("goes", 5).ids == []


def test_a_file_that_cannot_be_read_today_keeps_its_passages(tmp_path: Path) -> None:
    """Unreadable is not vanished, and neither is what a narrower glob leaves out."""
    for name in ("a.md", "b.txt"):
        (tmp_path / name).write_text("text")
    with Corpus.temporary(encoder=None) as corpus:
        sync(corpus, read_folder(tmp_path))
        (tmp_path / "a.md").write_bytes(b"caf\xe9")
        assert sync(corpus, read_folder(tmp_path)) == Synced(unchanged=1)
        assert sync(corpus, read_folder(tmp_path, glob=["*.txt"])) == Synced(unchanged=1)
        assert len(corpus) == 2


def test_documents_from_elsewhere_stay_and_are_never_overwritten(tmp_path: Path) -> None:
    """Other sources' documents are left alone; one of the same id is an error that names both."""
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add([Document("mine", "by hand")])
        sync(corpus, reading(Document("a", "x"), source=str(tmp_path)))
        sync(corpus, reading(Document("b", "y"), source="other"))
        assert sorted(d.id for d in corpus) == ["a", "b", "mine"]
        with pytest.raises(InputError, match=r"'mine' already, from elsewhere"):
            sync(corpus, reading(Document("mine", "z")))
        with pytest.raises(InputError, match="of its own"):
            sync(corpus, reading(Document("a", "z"), source="other"))
        assert corpus.get("a").text == "x"  # type: ignore[union-attr]


def test_a_folder_that_was_moved_takes_its_documents_along(tmp_path: Path) -> None:
    """After a folder was moved, its passages belong to the new place and nothing is doubled."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (before / "a.md").write_text("text")
    with Corpus.temporary(encoder=None) as corpus:
        sync(corpus, read_folder(before))
        before.rename(after)
        assert sync(corpus, read_folder(after)) == Synced(changed=1)
        owner = corpus.get("a.md#0").metadata[SOURCE]  # type: ignore[union-attr]
        assert owner == read_folder(after).source
        (after / "a.md").unlink()
        (after / "b.md").write_text("text")
        assert sync(corpus, read_folder(after)) == Synced(added=1, removed=1)


def test_no_document_tells_where_its_source_lies(tmp_path: Path) -> None:
    """The mark of the source is the folder's name and a hash, equal each time, and no path."""
    docs = tmp_path / "secret place" / "docs"
    docs.mkdir(parents=True)
    (docs / "a.md").write_text("text")
    (tmp_path / "link").symlink_to(docs)
    with Corpus.temporary(encoder=None) as corpus:
        sync(corpus, read_folder(docs))
        assert sync(corpus, read_folder(tmp_path / "link")) == Synced(unchanged=1)
        (document,) = corpus
        assert re.fullmatch(r"docs-[0-9a-f]{12}", document.metadata[SOURCE])
        assert "secret" not in repr(document)


def test_two_folders_of_one_name_are_two_sources(tmp_path: Path) -> None:
    """Both are there, so neither overwrites the other's documents; the error names both paths."""
    for name in ("one", "two"):
        (tmp_path / name / "docs").mkdir(parents=True)
        (tmp_path / name / "docs" / "a.md").write_text(name)
    with Corpus.temporary(encoder=None) as corpus:
        sync(corpus, read_folder(tmp_path / "one" / "docs"))
        with pytest.raises(InputError, match=r"one.docs; index .*two.docs"):
            sync(corpus, read_folder(tmp_path / "two" / "docs"))
        (tmp_path / "one" / "docs").rename(tmp_path / "moved")
        (corpus.path / "sources.json").write_text("{")
        with pytest.raises(InputError, match="of its own"):
            sync(corpus, read_folder(tmp_path / "moved"))


def test_progress_is_what_the_corpus_holds() -> None:
    """Each number reported is a number of documents that are in the corpus by then."""
    documents = [Document(str(n), f"text {n}") for n in range(2 * BATCH + 7)]
    seen: list[tuple[int, int]] = []
    with Corpus.temporary(encoder=None) as corpus:
        sync(corpus, reading(*documents), progress=lambda done: seen.append((done, len(corpus))))
    assert all(done == held for done, held in seen)
    assert seen[0] == (BATCH, BATCH)
    assert seen[-1] == (len(documents), len(documents))


def test_a_batch_of_long_texts_is_closed_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch holds more characters than those of `Corpus.add`, and one text more."""
    monkeypatch.setitem(sync.__globals__, "CHARACTERS", 1_000)
    seen = [0]
    with Corpus.temporary(encoder=None) as corpus:
        given = [Document(str(n), "word " * 80) for n in range(10)]
        assert sync(corpus, reading(*given), progress=seen.append) == Synced(added=10)
    assert seen == [0, 3, 6, 9, 10]


def test_texts_are_encoded_in_the_order_of_the_source() -> None:
    """What is new and what has changed is not sorted apart: vectors may come in that order."""
    encoder = Asked()
    with Corpus.temporary(encoder=encoder) as corpus:
        sync(corpus, reading(Document("b", "old")))
        encoder.texts.clear()
        now = [Document("a", "first"), Document("b", "second"), Document("c", "third")]
        assert sync(corpus, reading(*now)) == Synced(added=2, changed=1)
    assert encoder.texts == ["first", "second", "third"]


def test_empty_and_huge_texts_are_kept() -> None:
    """Empty and huge texts go in, stay findable, and are not changed again and again."""
    documents = [Document("empty", ""), Document("huge", "needle " + "hay " * 2_500_000)]
    with Corpus.temporary(encoder=None) as corpus:
        assert sync(corpus, reading(*documents)) == Synced(added=2)
        assert corpus.search_text("needle", 5).ids == ["huge"]
        assert sync(corpus, reading(*documents)) == Synced(unchanged=2)


class Asked(BagOfWords):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        self.texts += texts
        return super().encode(texts, kind=kind)


def test_a_place_that_cannot_be_kept_is_a_typed_error(tmp_path: Path) -> None:
    """A folder that may not be written to is named with what to see to."""
    with pytest.raises(CorpusError, match="see to"):
        keep_place(tmp_path / "nowhere", "a", tmp_path)
