from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.errors import ConfigurationError
from stepwell.models.pairs import Joiner, padded, template
from tests.models import tiny

pytest.importorskip("transformers", reason="the extra sentence-transformers is not installed")

TEXTS = st.text(max_size=200)


@lru_cache
def parts(form: str) -> tuple[Any, Joiner]:
    from tokenizers import Tokenizer

    fast = tiny.tokenizer(form)
    return fast, Joiner(Tokenizer.from_str(fast.backend_tokenizer.to_str()))


@pytest.mark.parametrize("form", tiny.FORMS)
@settings(deadline=None, max_examples=60)
@given(query=TEXTS, passage=TEXTS)
def test_a_pair_reads_as_the_models_own_tokenizer_reads_it(
    form: str, query: str, passage: str
) -> None:
    """Joined from two texts, ids and types equal those of the pair tokenised whole."""
    fast, joiner = parts(form)
    own = fast([query], [passage], return_token_type_ids=True)
    if len(own["input_ids"][0]) > 512:
        return
    row = joiner.rows(joiner.query(query, length=512), [passage], length=512).rows[0]
    assert row.ids.tolist() == own["input_ids"][0]
    assert row.kinds.tolist() == own["token_type_ids"][0]


@pytest.mark.parametrize("form", tiny.FORMS)
def test_windows_cover_a_long_passage(form: str) -> None:
    """Every token of a passage is in a window, none longer than asked, and the query in each."""
    _, joiner = parts(form)
    asked = joiner.query("which logs?", length=64)
    text = "the log file rotates every night " * 30
    tokens = joiner.tokenizer.encode(text, add_special_tokens=False).ids
    made = joiner.rows(asked, [text], length=64, most=50)
    assert len(made.rows) > 3
    assert made.cut == [False]
    front = len(joiner.template.front) + len(asked) + len(joiner.template.middle)
    back = len(joiner.template.back)
    windows = [row.ids.tolist()[front:-back] for row in made.rows]
    assert all(len(row.ids) <= 64 for row in made.rows)
    assert windows[0] == tokens[: len(windows[0])]
    assert windows[-1] == tokens[-len(windows[-1]) :]
    joined = list(windows[0])
    for window in windows[1:-1]:
        at = len(joined) - (len(window) // 4)
        assert tokens[at : at + len(window)] == window
        joined = joined[:at] + window
    assert len(joined) + len(windows[-1]) >= len(tokens)


def test_what_is_not_read_is_counted() -> None:
    """A passage beyond its windows is cut and says so; one that fits does not."""
    _, joiner = parts("bert")
    made = joiner.rows([5], ["log " * 9, "log " * 4000, "log"], length=64, most=2)
    assert made.cut == [False, True, False]
    assert made.owner == [0, 1, 1, 2]


def test_a_long_query_leaves_room_for_the_passage() -> None:
    """A query that would fill the row is cut to half of it."""
    _, joiner = parts("bert")
    asked = joiner.query("why " * 500, length=64)
    row = joiner.rows(asked, ["log " * 500], length=64).rows[0]
    assert len(row.ids) == 64
    assert row.kinds.sum() >= 30


def test_a_tokenizer_that_cannot_join_is_refused() -> None:
    """A template without a place for the passage is a clear error."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({"to": 0, "be": 1, "[SEP]": 2}, unk_token="to"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", pair="$B $A [SEP]", special_tokens=[("[SEP]", 2)]
    )
    with pytest.raises(ConfigurationError, match="does not join"):
        template(made)


def test_padding_is_masked() -> None:
    """Rows of unlike length become one block whose mask ends where they end."""
    _, joiner = parts("bert")
    rows = joiner.rows([5], ["log", "log log log"], length=64).rows
    ids, mask, kinds = padded(rows, 16, 1)
    assert ids.shape == mask.shape == kinds.shape == (2, 16)
    assert mask.sum(axis=1).tolist() == [len(row.ids) for row in rows]
    assert np.all(ids[mask == 0] == 1)
