from __future__ import annotations

import pytest

from stepwell import Cascade, ConfigurationError, TopK


def test_it_keeps_the_first_and_the_rest_does_not_come_back():
    result = Cascade([TopK(2)]).rank("q", ["a", "b", "c"], k=3)
    assert result.ids == ["0", "1"]
    assert str(result.trace.why("2")) == "2 was dropped by top-k: rank 3, cut at k=2"


def test_more_than_there_are_keeps_all():
    assert len(Cascade([TopK(9)]).rank("q", ["a", "b"])) == 2


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_a_k_that_is_none_is_refused(k):
    with pytest.raises(ConfigurationError, match="k must be"):
        TopK(k)


def test_it_comes_after_recall():
    with pytest.raises(ConfigurationError, match="'top-k' comes first"):
        Cascade([TopK(2)]).search("q")


def test_repr():
    assert repr(TopK(3)) == "TopK(3)"
