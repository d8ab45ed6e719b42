"""Query and passage to one row of token ids, each tokenised once and joined as the model expects.

The form of a pair (which special tokens stand around the texts, and which type every token has) is
read from what the model's own tokenizer makes of a pair, so BERT, RoBERTa, DeBERTa and XLM-R need
no case of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepwell.errors import ConfigurationError
from stepwell.models.texts import clean, shorten, spans

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids: TypeAlias = NDArray[np.int64]
PROBE = ("to", "be")


@dataclass(frozen=True, slots=True)
class Row:
    """One forward pass: token ids and type ids of a pair, int64, shape ``(tokens,)``."""

    ids: Ids
    kinds: Ids


@dataclass(frozen=True, slots=True)
class Template:
    """Special tokens before, between and behind the two texts, and the type of each part."""

    front: tuple[int, ...]
    middle: tuple[int, ...]
    back: tuple[int, ...]
    kinds: tuple[int, int, int, int, int]

    @property
    def size(self) -> int:
        """Count of special tokens."""
        return len(self.front) + len(self.middle) + len(self.back)

    def join(self, query: Sequence[int], passage: Sequence[int], /) -> Row:
        """Return the row of one pair."""
        parts = (self.front, query, self.middle, passage, self.back)
        ids = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
        return Row(ids, np.repeat(np.array(self.kinds, np.int64), [len(p) for p in parts]))


def template(tokenizer: Tokenizer, /) -> Template:
    """Return how `tokenizer` builds a pair.

    Raises:
        ConfigurationError: It mixes the two texts, or does not tell them apart.
    """
    made = tokenizer.encode(*PROBE)
    sides = list(made.sequence_ids)
    if 0 not in sides or 1 not in sides or sides.index(1) < sides.index(0):
        raise ConfigurationError("the tokenizer does not join a query and a passage in this order")
    query = (sides.index(0), len(sides) - sides[::-1].index(0))
    passage = (sides.index(1), len(sides) - sides[::-1].index(1))
    cuts = [(0, query[0]), query, (query[1], passage[0]), passage, (passage[1], len(sides))]
    kinds = [set(made.type_ids[a:b]) for a, b in cuts]
    if any(len(kind) > 1 for kind in kinds):
        raise ConfigurationError("the tokenizer gives one part of a pair several types")
    front, middle, back = (tuple(made.ids[a:b]) for a, b in cuts[::2])
    first, second, third, fourth, fifth = (min(kind, default=0) for kind in kinds)
    return Template(front, middle, back, (first, second, third, fourth, fifth))


@dataclass(frozen=True, slots=True)
class Rows:
    """The forward passes of one query and its passages.

    Attributes:
        rows: One or more a passage.
        owner: For each row the position of its passage.
        cut: For each passage, whether some of its text is in no row.
    """

    rows: list[Row]
    owner: list[int]
    cut: list[bool]


class Joiner:
    """Makes rows of two texts; its tokenizer never changes, so threads share it."""

    def __init__(self, tokenizer: Tokenizer, /) -> None:
        """Take a tokenizer with cutting and padding off."""
        self.tokenizer = tokenizer
        self.template = template(tokenizer)

    def query(self, text: str, /, *, length: int) -> list[int]:
        """Return the token ids of a query, `length` of them at most."""
        text, _ = shorten(clean(text), length)
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids[:length]

    def rows(
        self, query: Sequence[int], passages: Sequence[str], /, *, length: int, most: int = 1
    ) -> Rows:
        """Return rows of at most `length` tokens, special ones counted.

        A pair that fits gives the ids that the model's own tokenizer gives. Where it does not, the
        passage is read in up to `most` windows that overlap by a quarter, and the query keeps half
        of the room at least.
        """
        short = [shorten(clean(text), length * most) for text in passages]
        read = self.tokenizer.encode_batch_fast(
            [text for text, _ in short], add_special_tokens=False
        )
        whole = length - self.template.size
        made = Rows([], [], [])
        for at, (encoding, (_, cut)) in enumerate(zip(read, short, strict=True)):
            ids = encoding.ids
            asked = query[: max(whole // 2, whole - len(ids))]
            room = whole - len(asked)
            cuts = spans(len(ids), room, overlap=room // 4, most=most)
            made.rows.extend(self.template.join(asked, ids[a:b]) for a, b in cuts)
            made.owner.extend([at] * len(cuts))
            made.cut.append(cut or cuts[-1][1] < len(ids))
        return made


def padded(rows: Sequence[Row], width: int, pad: int, /) -> tuple[Ids, Ids, Ids]:
    """Return ids, mask and types of some rows, int64, each of shape ``(len(rows), width)``."""
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    mask = np.zeros_like(ids)
    kinds = np.zeros_like(ids)
    for at, row in enumerate(rows):
        size = len(row.ids)
        ids[at, :size], mask[at, :size], kinds[at, :size] = row.ids, 1, row.kinds
    return ids, mask, kinds
