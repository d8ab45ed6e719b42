"""Analyzers: what becomes of a text before BM25 sees it, and of a query.

Words are lowercased and, in the languages that have one, stemmed by Snowball. Function words stay
in the index, so that a phrase is found as it was written; a query leaves them out, unless it has
nothing else. tantivy's k1=1.2, b=0.75 are fixed; of the ways to treat function words that were
tried, this one ranked best (nDCG@10 with all kept / the 33 of Lucene left out / this list left out
of queries: nfcorpus .322 / .321 / .326, cranfield .512 / .516 / .528, 800-character chunks .758 /
.758 / .764).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import tantivy

from stepwell.documents import well_formed
from stepwell.errors import ConfigurationError

LANGUAGES = (
    "arabic",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
)
_WITH_STOP_WORDS = frozenset(LANGUAGES) - {"arabic", "greek", "romanian", "tamil", "turkish"}
NAMES = (*LANGUAGES, "plain", "code")

# The closed classes of English: articles, pronouns, auxiliaries, prepositions, conjunctions, and
# the words a question starts with. Contractions are split at the apostrophe.
_ENGLISH = (
    "a an the this that these those some any each every such same other another both all few more "
    "most no nor not only own so than too very just here there now then once again further "
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his "
    "himself she her hers herself it its itself they them their theirs themselves "
    "who whom whose what which when where why how "
    "am is are was were be been being have has had having do does did doing done "
    "will would shall should can could may might must "
    "and or but if because as until while of at by for with about against between into through "
    "during before after above below to from up down in out on off over under "
    "s t d ll m o re ve y don isn aren wasn weren doesn didn won couldn shouldn wouldn hasn haven "
    "hadn"
)

_LONGEST = 255  # bytes of a term; longer runs are no words (base64, checksums)
_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")


@dataclass(frozen=True, slots=True)
class Analyzer:
    """One way from text to terms.

    Attributes:
        name: As a corpus records it.
        inner: tantivy's analyzer, for the index to register.
        lean: The same without function words, for queries.
        prepare: What is done to a text before.
    """

    name: str
    inner: Any
    lean: Any
    prepare: Callable[[str], str]

    def terms(self, text: str) -> list[str]:
        """The terms of a text, in order."""
        return list(self.inner.analyze(self.prepare(well_formed(text))))

    def placed(self, text: str) -> list[tuple[int, str]]:
        """The terms of a text with their positions, for a phrase."""
        tokens = self.inner.pre_tokenize(self.prepare(well_formed(text))).tokens
        return [(token.position, token.text) for token in tokens]

    def holds(self, phrase: str, text: str) -> bool:
        """Whether the words of the phrase stand together in the text, in their order."""
        wanted, placed = self.placed(phrase), self.placed(text)
        if not wanted:
            return False
        there = set(placed)
        (first, opening), *_ = wanted
        starts = [place for place, term in placed if term == opening]
        return any(
            all((start + place - first, term) in there for place, term in wanted)
            for start in starts
        )

    def query_terms(self, text: str) -> dict[str, int]:
        """What a query asks for: each term with its count, in alphabetical order."""
        prepared = self.prepare(well_formed(text))
        terms = self.lean.analyze(prepared) or self.inner.analyze(prepared)
        return dict(sorted(Counter(terms).items()))


@cache
def analyzer(name: str) -> Analyzer:
    """The analyzer of this name: a language, "plain" (no stemming) or "code".

    "code" keeps an identifier whole and adds its parts: `parseHTTPHeader` is also found by
    "header", `read_csv` by "csv".

    Raises:
        ConfigurationError: There is none.
    """
    if name not in NAMES:
        raise ConfigurationError(f"unknown analyzer {name!r}; known are {', '.join(NAMES)}")
    if name == "code":
        inner = _built(tantivy.Tokenizer.whitespace())
        return Analyzer(name, inner, inner, _identifiers)
    if name == "plain":
        inner = _built(tantivy.Tokenizer.simple())
        return Analyzer(name, inner, inner, str)
    stemmer = tantivy.Filter.stemmer(name)
    inner = _built(tantivy.Tokenizer.simple(), stemmer)
    if name not in _WITH_STOP_WORDS:
        return Analyzer(name, inner, inner, str)
    english = name == "english"
    stop = (
        tantivy.Filter.custom_stopword(_ENGLISH.split())
        if english
        else tantivy.Filter.stopword(name)
    )
    return Analyzer(name, inner, _built(tantivy.Tokenizer.simple(), stop, stemmer), str)


def _built(tokenizer: Any, *filters: Any) -> Any:
    builder = tantivy.TextAnalyzerBuilder(tokenizer)
    before = (tantivy.Filter.remove_long(_LONGEST), tantivy.Filter.lowercase())
    for each in (*before, *filters):
        builder = builder.filter(each)
    return builder.build()


def _identifiers(text: str) -> str:
    """The words of a text with each identifier followed by its parts."""
    words = []
    for word in _WORD.findall(text):
        words.append(word)
        parts = _PART.findall(word)
        if len(parts) > 1:
            words.extend(parts)
    return " ".join(words)
