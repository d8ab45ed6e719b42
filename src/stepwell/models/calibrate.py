"""Real pairs to quantise on, and the check that a quantised model ranks as the original does."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from stepwell.models.protocols import Vectors

Pair: TypeAlias = tuple[str, str]

# A quantised MiniLM-L6 reaches .99 and an eighth of the range; see decision 4.
CORRELATION = 0.97
ERROR = 0.25

MODULES = (
    "argparse asyncio collections csv datetime decimal email.message functools heapq http.client "
    "itertools json logging os pathlib random re shutil socket sqlite3 statistics string "
    "subprocess tempfile textwrap threading unittest urllib.request zipfile"
)


def stock_pairs(count: int, /, *, seed: int = 0) -> list[Pair]:
    """Return pairs made of Python's own documentation, which every installation has.

    A question is a heading or a first sentence. Half of the passages are the text it stands over,
    a quarter its neighbour and a quarter any other, so that scores cover their whole range.
    """
    sections = list(_sections())
    chance = random.Random(seed)
    asked = chance.sample(range(len(sections)), min(count, len(sections)))
    pairs = []
    for at, number in enumerate(asked):
        question = sections[number][0]
        passage = number
        if at % 4 == 1:
            passage = (number + 1) % len(sections)
        elif at % 4 == 3:
            passage = chance.randrange(len(sections))
        pairs.append((question, sections[passage][1]))
    return pairs


def _sections() -> Iterator[Pair]:
    for text in _texts():
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
        paragraphs = [part for part in paragraphs if len(part) > 30]
        for start in range(0, len(paragraphs) - 1, 4):
            head = re.split(r"(?<=[.:?])\s", paragraphs[start])[0][:160]
            yield head, " ".join(paragraphs[start : start + 6])[:1600]


def _texts() -> Iterator[str]:
    try:
        from pydoc_data.topics import topics

        yield from (topics[name] for name in sorted(topics))
    except ImportError:
        # Some distributions leave it out; the docstrings below remain.
        pass
    import importlib

    for name in MODULES.split():
        module = importlib.import_module(name)
        for part in [module, *(value for _, value in sorted(vars(module).items(), key=_first))]:
            if inspect.ismodule(part) or inspect.isclass(part) or inspect.isroutine(part):
                yield inspect.getdoc(part) or ""


def _first(item: tuple[str, Any]) -> str:
    return item[0]


@dataclass(frozen=True, slots=True)
class Check:
    """How a converted model's scores lie to those of the original.

    Attributes:
        correlation: Spearman's rank correlation.
        error: Largest absolute difference, in logits.
        spread: Range of the original's scores, in logits.
    """

    correlation: float
    error: float
    spread: float

    @property
    def passed(self) -> bool:
        """Whether it may stand in for the original."""
        return self.correlation >= CORRELATION and self.error <= ERROR * self.spread

    @property
    def facts(self) -> dict[str, float]:
        """The numbers, as JSON takes them."""
        return {"correlation": self.correlation, "error": self.error, "spread": self.spread}

    def __str__(self) -> str:
        return (
            f"rank correlation {self.correlation:.3f} (at least {CORRELATION:g} is asked), largest "
            f"error {self.error:.3f} of a range of {self.spread:.3f} (at most {ERROR:g} of it)"
        )


def check(reference: Vectors, values: Vectors, /) -> Check:
    """Compare a converted model's `values` with the original's, both of shape ``(n,)``."""
    if not (np.isfinite(reference).all() and np.isfinite(values).all()):
        return Check(float("nan"), float("inf"), 0.0)
    error = float(np.abs(reference - values).max())
    return Check(rank_correlation(reference, values), error, float(np.ptp(reference)))


def rank_correlation(a: Sequence[float] | Vectors, b: Sequence[float] | Vectors, /) -> float:
    """Return Spearman's rho with ties at their mean rank; 1 where both are constant."""
    x, y = (_ranks(np.asarray(values, dtype=np.float64)) for values in (a, b))
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else float(not (x @ x or y @ y))


def _ranks(values: Any) -> Any:
    _, where, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[where]
