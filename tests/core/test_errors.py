from __future__ import annotations

import pickle

import pytest

import stepwell
from stepwell import (
    ConfigurationError,
    ContractError,
    InputError,
    MissingExtraError,
    ModelError,
    StageError,
    StepwellError,
)
from stepwell.errors import import_extra


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigurationError, ValueError),
        (InputError, ValueError),
        (ModelError, ValueError),
        (MissingExtraError, ImportError),
    ],
)
def test_each_error_is_also_the_builtin_a_caller_would_catch(error, builtin):
    assert issubclass(error, builtin)
    assert issubclass(error, StepwellError)
    assert issubclass(ContractError, StageError)


def test_every_error_of_the_front_door_is_in_the_tree():
    errors = [getattr(stepwell, name) for name in stepwell.__all__ if name.endswith("Error")]
    assert len(errors) == 10
    assert all(issubclass(error, StepwellError) for error in errors)


def test_a_missing_extra_says_what_to_type():
    with pytest.raises(MissingExtraError) as caught:
        import_extra("no_such_module_at_all.part", extra="chroma")
    assert str(caught.value).endswith("run: pip install 'stepwell[chroma]'")
    assert (caught.value.module, caught.value.extra) == ("no_such_module_at_all.part", "chroma")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_a_fault_inside_an_installed_extra_stays_visible(tmp_path, monkeypatch):
    """It is not missing: it is broken, and its own message says how."""
    (tmp_path / "broken_extra.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all") as caught:
        import_extra("broken_extra", extra="chroma")
    assert not isinstance(caught.value, MissingExtraError)


def test_what_is_installed_is_imported():
    assert import_extra("json", extra="none").loads("1") == 1


def test_a_stage_error_pickles_with_its_context():
    error = StageError("m", stage="s", position=2)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.stage, again.position) == ("m", "s", 2)
