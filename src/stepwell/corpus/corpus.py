"""`Corpus`: where documents live durably, with the indexes kept in step."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.corpus import writing
from stepwell.corpus.answers import Answers
from stepwell.corpus.compacting import Compaction
from stepwell.corpus.kinds import check_kind
from stepwell.corpus.opening import Options, opened, placer_of
from stepwell.corpus.placing import Placer, Text
from stepwell.corpus.rebuilding import compact, rebuild_index, rebuild_lexical, reencode
from stepwell.corpus.store import Store
from stepwell.corpus.upkeep import catch_up, later, session, sign
from stepwell.corpus.writing import Writer, batches, content_hash, locked
from stepwell.documents import Document
from stepwell.errors import CorpusError, InputError
from stepwell.models.loading import EMBEDDED, EncoderSpec, load_encoder
from stepwell.models.protocols import Vectors


class Corpus(Answers):
    """Documents with a term index and vectors; made by `Corpus.open`.

    One writer at a time, any number of readers, in threads and processes. What a call to `add`,
    `upsert` or `delete` wrote when it returns (or reports progress) outlives a kill at any moment.

    Example:
        >>> with Corpus.temporary(encoder=None) as corpus:
        ...     corpus.add([Document("a1", "Rotate the logs."), Document("a2", "Page the team.")])
        ...     corpus.search_text("rotating logs", 5).ids
        2
        ['a1']
    """

    def __init__(self, store: Store, options: Options, repaired: list[str]) -> None:
        self._store = store
        self._options = options
        self._repaired = repaired
        self._compaction = Compaction(store.path)
        if not store.read_only:
            # A corpus from before there was such an index, or a package to make it with.
            store.missed = self._compaction.begin
        self._discard: Callable[[], Any] | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: EncoderSpec = EMBEDDED,
        analyzer: str | None = None,
        vectors: str | None = None,
        create: bool = True,
        read_only: bool = False,
        lock_timeout: float = 10.0,
    ) -> Corpus:
        """Open the corpus in a folder; make it if there is none.

        Args:
            path: The folder.
            encoder: What makes the vectors: "embedded", a model's name, an `Encoder`, a callable;
                None for a corpus without vectors, or to read one without its encoder.
            analyzer: How texts become terms: a language, "plain" or "code". As recorded, or
                "english" for a new corpus, if None.
            vectors: How vectors are searched: "auto" (exactly up to 50,000, above that by an index
                of neighbours, with the extra "faiss"; "auto:N" for another size), "exact",
                "chroma", or the URL of a Chroma server. As recorded, or "auto" for a new corpus, if
                None. "exact" opens one recorded as "auto", too, and only here.
            create: Whether to make a corpus where there is none.
            read_only: Whether nothing is written, not even a repair.
            lock_timeout: Seconds that a write waits for the writer before it.

        Raises:
            CorpusError: The folder holds no corpus, one of a newer format, or one of another
                encoder, analyzer or kind of vectors; or it is damaged and may not be written.
            ConfigurationError: An unknown encoder, analyzer or kind of vectors.
        """
        options = Options(encoder, analyzer, vectors, create, read_only, lock_timeout)
        store, known, repaired = opened(Path(path), options)
        return cls(store, known, repaired)

    @classmethod
    def temporary(
        cls,
        *,
        encoder: EncoderSpec = EMBEDDED,
        analyzer: str | None = None,
        vectors: str | None = None,
    ) -> Corpus:
        """A corpus in a folder of its own that is removed when it is closed."""
        folder = tempfile.mkdtemp(prefix="stepwell-")
        try:
            corpus = cls.open(folder, encoder=encoder, analyzer=analyzer, vectors=vectors)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        corpus._discard = weakref.finalize(corpus, shutil.rmtree, folder, True)
        return corpus

    def close(self) -> None:
        """Let go of every file, after compaction in the background; a temporary one is removed."""
        self._compaction.wait()
        self._store.close()
        if self._discard is not None:
            self._discard()

    def __enter__(self) -> Corpus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Corpus({str(self.path)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # A copy is the same folder, opened again.
        o = self._options
        vectors = "exact" if o.vectors == "exact" else None
        return _reopened, (str(self.path), o.encoder, o.read_only, o.lock_timeout, vectors)

    @property
    def repaired(self) -> tuple[str, ...]:
        """What was found damaged and made anew since this corpus was opened."""
        return tuple(self._repaired)

    # -- writing ---------------------------------------------------------------------------

    def add(
        self, documents: Iterable[Document], *, progress: Callable[[int], object] | None = None
    ) -> int:
        """Add documents with new ids.

        They are taken as they are needed and written in batches, each whole or not at all.

        Args:
            documents: Any iterable.
            progress: Called with the number of documents acknowledged so far, after each batch.

        Returns:
            How many were added.

        Raises:
            InputError: An id exists or repeats, a document cannot be kept, or its vector is NaN;
                nothing of its batch was written.
            CorpusError: The corpus is read-only, or another writer holds it.
        """
        return self._put(documents, progress, replace=False)

    def upsert(
        self, documents: Iterable[Document], *, progress: Callable[[int], object] | None = None
    ) -> int:
        """Add documents, replacing those of the same ids; of two in one call, the later counts.

        Args:
            documents: As in `add`.
            progress: As in `add`.

        Returns:
            How many were written.

        Raises:
            InputError: As in `add`, but for ids.
            CorpusError: As in `add`.
        """
        return self._put(documents, progress, replace=True)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents; ids that the corpus does not hold are passed over.

        Returns:
            How many were deleted.

        Raises:
            CorpusError: As in `add`.
        """
        if isinstance(ids, str):
            raise InputError(f"delete takes a list of ids, not the string {ids!r}")
        with self._session() as writer:
            return writer.remove(list(dict.fromkeys(ids)))

    def reencode(
        self, encoder: EncoderSpec, *, progress: Callable[[int], object] | None = None
    ) -> int:
        """Give the corpus vectors of another encoder; until all are there the old ones answer.

        Killed in the middle, it goes on where it was when it is called again.

        Args:
            encoder: As in `open`; None takes the vectors away.
            progress: Called with the number of texts encoded so far, after each batch.

        Returns:
            How many texts were encoded.

        Raises:
            InputError: The encoder gave NaN or another shape than it should.
            CorpusError: As in `add`.
        """
        model = None if encoder is None else load_encoder(encoder)
        with self._locked():
            catch_up(self._store, None, self._repaired)
            done = reencode(self._store, model, progress)
            sign(self._store)
        self._options = replace(self._options, encoder=encoder, model=model)
        return done

    def compact(self, *, progress: Callable[[int], object] | None = None) -> None:
        """Rewrite every file with nothing in it but what the corpus holds; who reads reads on.

        Afterwards scores and order are those of a corpus made anew from the same documents.

        Args:
            progress: Called with the number of documents in the new term index so far.

        Raises:
            CorpusError: As in `add`.
        """
        with self._locked():
            catch_up(self._store, placer_of(self._store, self._options), self._repaired)
            compact(self._store, progress)
            sign(self._store)

    def rebuild(
        self, *, vectors: str | None = None, progress: Callable[[int], object] | None = None
    ) -> None:
        """Make every index anew from the record, damaged or not; who reads reads on.

        Vectors that are damaged are encoded again, if the encoder is at hand.

        Args:
            vectors: How they are searched from now on, as in `open`; None for as they were.
            progress: As in `compact`.

        Raises:
            CorpusError: As in `add`.
            ConfigurationError: An unknown kind of vectors.
        """
        with self._locked():
            catch_up(self._store, placer_of(self._store, self._options), self._repaired)
            rebuild_lexical(self._store, progress)
            rebuild_index(self._store, None if vectors is None else check_kind(vectors))
            sign(self._store)

    def vectors_for(self, ids: Sequence[str]) -> Vectors:
        """`vectors_of`, but a document without a vector is encoded now, and its vector kept.

        Raises:
            CorpusError: The corpus has no vectors.
        """
        with self.snapshot():
            vectors = self.vectors_of(ids)
            lacking = np.flatnonzero(np.isnan(vectors[:, :1]).any(axis=1)).tolist()
            documents = self.get_many([ids[at] for at in lacking])
        texts: dict[bytes, Text] = {}
        places: dict[int, bytes] = {}
        for at, document in zip(lacking, documents):
            if document is not None:
                places[at] = content_hash(document.text)
                texts[places[at]] = Text(document.id, document.text)
        if not texts or self.encoder is None or self._store.read_only:
            return vectors
        with self._session() as writer:
            made = writer.place(texts)
        for at, hash in places.items():
            vectors[at] = made[hash]
        return vectors

    def _put(
        self,
        documents: Iterable[Document],
        progress: Callable[[int], object] | None,
        *,
        replace: bool,
        placer: Placer | None = None,
    ) -> int:
        if isinstance(documents, Document) or not isinstance(documents, Iterable):
            raise InputError(f"documents must be a list, not {type(documents).__name__}")
        size = writing.BATCH if self.encoder is None else writing.BATCH_ENCODED
        done = 0
        with self._session(placer) as writer:
            for batch in batches(documents, size, repeats=replace, most=writing.BATCH):
                done += writer.put(batch, replace=replace)
                if progress is not None:
                    progress(done)
        return done

    @contextmanager
    def _session(self, placer: Placer | None = None) -> Iterator[Writer]:
        with self._locked():
            placer = placer or self._placer()
            with session(self._store, placer, self._repaired) as writer:
                yield writer
        with later(self._store):
            self._compaction.begin(self._store)

    def _locked(self) -> AbstractContextManager[None]:
        if self._store.read_only:
            raise CorpusError(
                f"corpus {str(self.path)!r} was opened read-only; open it without read_only=True"
            )
        return locked(self.path, timeout=self._options.lock_timeout)

    def _placer(self) -> Placer | None:
        space = self._space()
        if not space:
            return None
        if self.encoder is None:
            raise CorpusError(
                f"corpus {str(self.path)!r} was opened with encoder=None but has vectors; open it "
                "with its encoder to write to it"
            )
        return Placer(self._store, self.encoder, space=space)


def _reopened(
    path: str, encoder: EncoderSpec, read_only: bool, lock_timeout: float, vectors: str | None
) -> Corpus:
    return Corpus.open(
        path,
        encoder=encoder,
        vectors=vectors,
        create=False,
        read_only=read_only,
        lock_timeout=lock_timeout,
    )
