"""The last layer computed for one token scores what the whole layer scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stepwell.models.convert import _wrapped
from stepwell.models.narrow import narrow
from stepwell.models.source import load_source
from tests.models import tiny

# Tracing warns of itself, as of every branch on a shape.
pytestmark = pytest.mark.filterwarnings("ignore")
openvino = pytest.importorskip("openvino", reason="openvino is not installed")


@pytest.mark.parametrize("form", tiny.FORMS)
def test_narrowing_changes_no_score(form: str, tmp_path: Path) -> None:
    """Scores of padded batches stay what they were, and work is really left out."""
    tiny.saved(tmp_path, form)
    plain, inputs = _wrapped(load_source(str(tmp_path)))
    made = openvino.convert_model(plain, example_input=tuple(inputs.values()))
    for port in made.inputs:
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
    made.validate_nodes_and_infer_types()
    whole = openvino.compile_model(made.clone(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    left_out = narrow(made)
    narrowed = openvino.compile_model(made, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    chance = np.random.default_rng(3)
    for size, width in ((1, 5), (3, 24), (7, 61)):
        mask = (np.arange(width) < chance.integers(3, width + 1, (size, 1))).astype(np.int64)
        ids = chance.integers(4, 500, (size, width)) * mask + (1 - mask)
        rows = [ids, mask, np.zeros_like(ids)][: len(inputs)]
        np.testing.assert_allclose(narrowed(rows)[0], whole(rows)[0], atol=1e-5)
    assert left_out > 0
