"""Any number of documents with words like those of a language, and vectors like those of a model.

Half of the texts are drawn from a vocabulary whose words are as rare as Zipf's law says. The others
are real passages with a tenth of their words replaced, from ../shared/data where it is there.
A vector is that of a real passage by the packaged encoder, with noise as large as what such edits
do to a vector. Everything follows from the seed; nothing but the vocabulary is held in memory.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

import stepwell as sw
from stepwell.ingest import read_beir
from stepwell.models import load_encoder
from stepwell.models.protocols import Kind, Vectors

DATA = Path(__file__).parents[3] / "shared" / "data"
SETS = ("squad11-dev", "nfcorpus")
WORDS = 60
EDITED = 0.1
SHELVES = 10_000  # of which one holds .01% of the documents, a hundred hold 1%

_VOCABULARY, _EXPONENT = 200_000, 1.05
_OPENING = 24  # characters that are never edited: they tell which passage it was
_PART = 1000
_BANK = 4096


def passages(limit: int) -> list[str]:
    """Real passages, the first `WORDS` words of each; synthetic ones where there is no data."""
    found: dict[str, str] = {}
    for name in SETS:
        if (DATA / name).exists():
            for document in read_beir(DATA / name).documents:
                text = " ".join(document.text.split()[:WORDS])
                if len(text) > 10 * _OPENING:
                    found.setdefault(text[:_OPENING], text)
    kept = list(found.values()) or list(texts(limit, (), seed=9))
    random.Random(0).shuffle(kept)
    return kept[:limit]


def questions(limit: int) -> list[str]:
    """Real questions of the same data sets; none where there is no data."""
    found: list[str] = []
    for name in SETS:
        if (file := DATA / name / "queries.jsonl.gz").exists():
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                found += [json.loads(line)["text"] for line in lines]
    random.Random(0).shuffle(found)
    return found[:limit]


def texts(n: int, real: Sequence[str], *, seed: int = 0) -> Iterator[str]:
    """So many texts, one after the other."""
    chance = np.random.default_rng(seed)
    words = _words(chance)
    share = np.cumsum(np.arange(1, len(words) + 1) ** -_EXPONENT)
    split = [passage.split() for passage in real]
    fixed = [len(passage[:_OPENING].split()) for passage in real]
    for start in range(0, n, _PART):
        size = min(_PART, n - start)
        lengths = np.clip(chance.poisson(WORDS, size), 10, None)
        drawn = np.searchsorted(share, chance.random(int(lengths.sum())) * share[-1])
        ends = np.cumsum(lengths).tolist()
        begins = [0, *ends[:-1]]
        chosen = chance.integers(0, max(len(real), 1), size).tolist()
        where = chance.random((size, int(WORDS * EDITED)))
        ranks = drawn.tolist()
        for at in range(size):
            new = ranks[begins[at] : ends[at]]
            if not split or at % 2:
                yield " ".join([words[rank] for rank in new])
                continue
            copy, first = list(split[chosen[at]]), fixed[chosen[at]]
            for place, rank in zip(where[at].tolist(), new):
                copy[first + int(place * (len(copy) - first))] = words[rank]
            yield " ".join(copy)


def questions_of(real: Sequence[str], lines: Iterable[str], n: int) -> list[str]:
    """So many queries, half of them real, the others three to eight words in a row of a text."""
    chance = random.Random(1)
    made = list(real[: n // 2])
    for line in lines:
        if len(made) == n:
            break
        words = line.split()
        length = chance.randint(3, 8)
        start = chance.randrange(max(len(words) - length, 1))
        made.append(" ".join(words[start : start + length]))
    return made


def document(number: int, text: str) -> sw.Document:
    """The document of a text: its shelf is what filters ask for."""
    return sw.Document(str(number), text, {"shelf": number * 7919 % SHELVES})


class Repeated:
    """The packaged encoder for queries; for passages, what it made of a few of them, with noise.

    A text is known by its beginning; one that was never encoded lies between two that were.

    Args:
        real: The passages that were encoded.
        base: (n, d) float32 their vectors.
        noise: Length of the noise, of unit vectors.
    """

    local = True

    def __init__(self, real: Sequence[str], base: Vectors, noise: float) -> None:
        self._model = load_encoder("embedded")
        self._base = base
        self._known = {text[:_OPENING]: at for at, text in enumerate(real)}
        bank = np.random.default_rng(2).standard_normal((_BANK, base.shape[1]), np.float32)
        self._bank = bank * np.float32(noise / np.sqrt(2) / np.sqrt(base.shape[1]))
        self.dimension = base.shape[1]
        self.name = f"{self._model.name}, repeated"

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        """Return one unit-length float32 row per text; what a text gets follows from the text."""
        if kind == "query":
            return self._model.encode(texts, kind=kind)
        marks = np.array([zlib.crc32(text.encode()) for text in texts], np.int64)
        known = np.array([self._known.get(text[:_OPENING], -1) for text in texts])
        first = np.where(known < 0, marks % len(self._base), known)
        second = np.where(known < 0, marks // len(self._base) % len(self._base), known)
        made = _unit(self._base[first] + self._base[second])
        made += self._bank[marks % _BANK] + self._bank[marks // _BANK % _BANK]
        return _unit(made)

    @classmethod
    def measured(cls, real: Sequence[str]) -> tuple[Vectors, float]:
        """The vectors of passages, and how far edits move them on average."""
        model = load_encoder("embedded")
        base = model.encode(real)
        some = min(len(real), 100)
        known = {text[:_OPENING]: at for at, text in enumerate(real)}
        edited = [text for text in texts(2 * some, real[:some]) if text[:_OPENING] in known]
        moved = model.encode(edited) - base[[known[text[:_OPENING]] for text in edited]]
        return base, float(np.linalg.norm(moved, axis=1).mean())


def _unit(rows: Vectors) -> Vectors:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-6), np.float32)


def _words(chance: np.random.Generator) -> list[str]:
    """A vocabulary: the commonest are short."""
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    made: dict[str, None] = {}
    while len(made) < _VOCABULARY:
        length = 3 + min(len(made) // 2000, 5)
        rows = chance.choice(letters, (4096, length), p=np.arange(26, 0, -1) / 351)
        made.update(dict.fromkeys("".join(row) for row in rows.tolist()))
    return list(made)[:_VOCABULARY]
