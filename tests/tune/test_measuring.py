"""The measures are those of ir-measures."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import InputError
from stepwell.tune.measuring import Measure

MEASURES = {"nDCG@10": "nDCG@10", "nDCG@3": "nDCG@3", "MRR@10": "RR@10", "R@5": "R@5"}
GRADES = st.integers(min_value=-1, max_value=4)


@given(
    found=st.lists(GRADES | st.none(), max_size=14),
    missed=st.lists(GRADES, max_size=12),
    name=st.sampled_from(sorted(MEASURES)),
)
def test_a_measure_is_what_ir_measures_says(
    found: list[int | None], missed: list[int], name: str
) -> None:
    """With grades, without relevant documents, with fewer than the cut-off, with unjudged ones."""
    qrels = {f"d{at}": grade for at, grade in enumerate(found) if grade is not None}
    qrels |= {f"m{at}": grade for at, grade in enumerate(missed)}
    run = {f"d{at}": -float(at) for at in range(len(found))}
    ranked = np.array([[grade or 0 for grade in found]] * 2, dtype=np.int64)
    mine = Measure.parse(name).of(qrels.values())(ranked)
    measure = ir_measures.parse_measure(MEASURES[name])
    theirs = list(ir_measures.iter_calc([measure], {"q": qrels}, {"q": run})) if qrels else []
    expected = theirs[0].value if theirs and run else 0.0
    assert mine == pytest.approx([expected] * 2)


@pytest.mark.parametrize("name", ["nDCG", "P@10", "nDCG@0", "AP", "nDCG@-1", ""])
def test_another_measure_is_refused(name: str) -> None:
    """What cannot be computed here is said, and not computed otherwise."""
    with pytest.raises(InputError, match="tuned for nDCG@k"):
        Measure.parse(name)


def test_names_are_read_as_ir_measures_writes_them() -> None:
    """RR and MRR are one, in any case of letters."""
    assert str(Measure.parse("RR@10")) == str(Measure.parse("mrr@10")) == "MRR@10"
