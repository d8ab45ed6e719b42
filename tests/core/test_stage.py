from __future__ import annotations

import pickle
from copy import deepcopy

import pytest

from stepwell import Cascade, ConfigurationError, Stage, stage
from tests.core.stages_of_tests import Recall


@stage
def first_three(candidates):
    """Keep three."""
    return candidates.top(3)


def test_a_function_becomes_a_stage_that_keeps_its_name_and_docstring():
    assert isinstance(first_three, Stage)
    assert first_three.name == "first_three"
    assert first_three.__doc__ == "Keep three."
    assert "first_three" in repr(first_three)
    assert Cascade([Recall(5), first_three]).search("q").ids == ["d0", "d1", "d2"]


def test_what_a_function_drops_stays_dropped_unless_it_says_otherwise():
    @stage(name="depth", decides=False)
    def cut(candidates):
        return candidates.top(3)

    assert len(Cascade([Recall(5), first_three]).search("q", k=5)) == 3
    assert len(Cascade([Recall(5), cut]).search("q", k=5)) == 5


def test_a_function_may_recall():
    @stage
    def found(candidates):
        return candidates.recalled("found", ["a"], [1.0], source=Recall(1).source)

    assert Cascade([found]).search("q").trace.records[0].n_out == 1


def test_a_function_that_expands_says_so():
    @stage(expands=True)
    def more(candidates):
        ids = [*candidates.ids, "d9"]
        return candidates.recalled("more", ids, range(len(ids), 0, -1), source=Recall(10).source)

    assert Cascade([Recall(2), more]).search("q").ids == ["d0", "d1", "d9"]


def test_what_is_no_function_makes_no_stage():
    with pytest.raises(ConfigurationError, match="function"):
        stage(3)


def test_a_callable_object_makes_a_stage_named_after_its_class():
    class Cut:
        def __call__(self, candidates):
            return candidates.top(1)

    assert stage(Cut()).name == "Cut"


def test_the_function_can_still_be_reached():
    assert first_three.function(Recall(5).run(_fresh())).ids.tolist() == ["d0", "d1", "d2"]


def _fresh():
    from stepwell import Candidates

    return Candidates.start("q")


def test_stages_of_functions_pickle_and_copy():
    """A decorated one as its name, another with its function."""
    assert pickle.loads(pickle.dumps(first_three)) is first_three
    assert deepcopy(first_three) is first_three
    undecorated = stage(_keep_all)
    for again in (pickle.loads(pickle.dumps(undecorated)), deepcopy(undecorated)):
        assert again.function is _keep_all
        assert again.name == "_keep_all"


def _keep_all(candidates):
    return candidates
