"""Only the first token is scored, so the last layer computes nothing for the others.

A sequence classifier reads its answer off one token. Whatever lies between that token's pick and
the last attention works on each token by itself, and of the attention only one query counts. The
pick is therefore moved down to where tokens last meet; the score stays what it was, and a model of
six layers loses a seventh of its work.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Work on every element by itself.
PLAIN = frozenset(
    (
        *("Add", "Subtract", "Multiply", "Divide", "Power", "Sqrt"),
        *("Gelu", "Erf", "Relu", "Tanh", "Swish", "Sigmoid", "Convert"),
    )
)
ATTENTION = "ScaledDotProductAttention"


def narrow(model: Any, /) -> int:
    """Change an OpenVINO model in place and return how many operations were narrowed.

    A graph of a form that is not known is left as it is, and 0 returned.
    """
    import openvino

    picks = [op for op in model.get_ordered_ops() if _picks_first(op)]
    if len(picks) != 1:
        return 0
    # Operation -> the axis along which it holds the tokens.
    cone: dict[Any, int] = {}
    axes = {_id(picks[0].input_value(0)): 1}
    for op in reversed(model.get_ordered_ops()):
        axis = axes.get(_id(op.output(0))) if op.get_output_size() == 1 else None
        if axis is None or not _only_used_by(op, {picks[0].get_name(), *_names(cone)}):
            continue
        inputs = _inputs(op, axis)
        if inputs is not None:
            cone[op] = axis
            axes |= {_id(op.input_value(at)): below for at, below in inputs.items()}
    inside = _names(cone)
    for op, axis in cone.items():
        for at, below in (_inputs(op, axis) or {}).items():
            if op.input_value(at).get_node().get_name() not in inside:
                _cut(openvino, op.input(at), below)
    model.validate_nodes_and_infer_types()
    return len(cone)


def _names(cone: dict[Any, int], /) -> set[str]:
    """Return the names of some operations, which are unique in a graph."""
    return {op.get_name() for op in cone}


def _id(output: Any) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


def _constant(output: Any) -> Any:
    node = output.get_node()
    return np.asarray(node.get_data()) if node.get_type_name() == "Constant" else None


def _picks_first(op: Any) -> bool:
    if op.get_type_name() != "Gather" or len(op.get_input_partial_shape(0)) != 3:
        return False
    place, axis = _constant(op.input_value(1)), _constant(op.input_value(2))
    return place is not None and axis is not None and not place.any() and int(axis) == 1


def _only_used_by(op: Any, names: set[str]) -> bool:
    return all(each.get_node().get_name() in names for each in op.output(0).get_target_inputs())


def _inputs(op: Any, axis: int) -> dict[int, int] | None:
    """Return which inputs of an operation hold tokens, and along which axis; None if it mixes."""
    kind = op.get_type_name()
    rank = len(op.get_output_partial_shape(0))
    if kind in PLAIN:
        return _elementwise(op, axis, rank)
    if kind == "MVN" and axis != rank - 1:
        over = _constant(op.input_value(1))
        return {0: axis} if over is not None and set(over % rank) == {rank - 1} else None
    if kind == "MatMul" and axis < rank - 1:
        whole = not op.get_attributes()["transpose_a"] and _constant(op.input_value(1)) is not None
        return {0: axis} if whole else None
    if kind == "Transpose":
        order = _constant(op.input_value(1))
        return None if order is None else {0: int(order[axis])}
    if kind == "Reshape":
        return _reshape(op, axis)
    if kind == ATTENTION and axis == 2 and not op.get_attributes().get("causal", False):
        return _attention(op)
    return None


def _elementwise(op: Any, axis: int, rank: int) -> dict[int, int] | None:
    inputs = {}
    for at in range(op.get_input_size()):
        shape = op.get_input_partial_shape(at)
        place = axis - (rank - len(shape))
        if place < 0 or (shape[place].is_static and shape[place].get_length() == 1):
            continue
        if _constant(op.input_value(at)) is not None:
            return None
        inputs[at] = place
    return inputs


def _reshape(op: Any, axis: int) -> dict[int, int] | None:
    """Heads are split off or joined behind the tokens, which keep their axis."""
    target = _constant(op.input_value(1))
    before, after = op.get_input_partial_shape(0), op.get_output_partial_shape(0)
    if target is None or target[axis] not in (0, -1) or len(before) <= axis:
        return None
    behind = [list(shape)[axis + 1 :] for shape in (before, after)]
    if any(dimension.is_dynamic for part in behind for dimension in part):
        return None
    sizes = [int(np.prod([dimension.get_length() for dimension in part])) for part in behind]
    return {0: axis} if sizes[0] == sizes[1] else None


def _attention(op: Any) -> dict[int, int] | None:
    """Of the queries one is kept, and of the mask its row; keys and values stay whole."""
    inputs = {0: 2}
    if op.get_input_size() > 3:
        mask = op.get_input_partial_shape(3)
        if len(mask) != 4:
            return None
        if not (mask[2].is_static and mask[2].get_length() == 1):
            inputs[3] = 2
    return inputs


def _cut(openvino: Any, port: Any, axis: int) -> None:
    first = openvino.opset13.constant(np.array([0], dtype=np.int64))
    along = openvino.opset13.constant(np.array(axis, dtype=np.int64))
    gather = openvino.opset13.gather(port.get_source_output(), first, along)
    port.replace_source_output(gather.output(0))
