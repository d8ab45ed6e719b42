"""Nodes in a corpus: packed into a document, and made again from it."""

from __future__ import annotations

import json
from typing import Any

from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    TextNode,
)
from llama_index.core.schema import Document as LlamaDocument

from stepwell.documents import Document
from stepwell.errors import InputError

NODE_KEY = "_node"
"""The metadata key that holds what there is of a node besides its text and metadata."""

_KINDS: dict[str, type[BaseNode]] = {
    kind.class_name(): kind
    for kind in (TextNode, ImageNode, IndexNode, Node, LlamaDocument, ImageDocument)
}


def packed(node: BaseNode, mode: MetadataMode = MetadataMode.EMBED) -> Document:
    """The node as a document from which `unpacked` makes an equal node.

    Left out are its embedding, an index node's object and the bytes of media.

    Args:
        node: Its class is one of LlamaIndex's own.
        mode: Which text of the node is searched and read.

    Raises:
        InputError: Its class is another, so that something of it would be lost.
    """
    if type(node) not in _KINDS.values():
        raise InputError(
            f"node {node.node_id!r} is a {type(node).__name__}, of which a corpus would lose a "
            "part; make it a TextNode, or use as_stage over the index that holds it"
        )
    bare = node.model_copy(update={"obj": None}) if isinstance(node, IndexNode) else node
    rest = bare.model_dump(
        mode="json", exclude={"id_", "embedding", "metadata", "text"}, exclude_defaults=True
    )
    text = node.get_content(metadata_mode=mode)
    raw = _raw_text(rest, node)
    seen = visible(node)
    rest["stepwell"] = {
        "added": [key for key in seen if key not in node.metadata],
        **_whereabouts(raw, text),
    }
    return Document(node.node_id, text, {**seen, NODE_KEY: json.dumps(rest, ensure_ascii=False)})


def unpacked(document: Document) -> BaseNode:
    """The node that was packed; a plain text node for a document that never was a node."""
    metadata = dict(document.metadata)
    if NODE_KEY not in metadata:
        return TextNode(id_=document.id, text=document.text, metadata=metadata)
    rest: dict[str, Any] = json.loads(metadata.pop(NODE_KEY))
    kind, ours = _KINDS[rest.pop("class_name")], rest.pop("stepwell")
    for key in ours["added"]:
        del metadata[key]
    text = ours.get("text")
    if "start" in ours:
        text = document.text[ours["start"] : ours["stop"]] + ours["tail"]
    if issubclass(kind, TextNode):
        rest["text"] = text
    elif text is not None:
        rest["text_resource"]["text"] = text
    return kind.from_dict({**rest, "id_": document.id, "metadata": metadata})


def visible(node: BaseNode) -> dict[str, Any]:
    """What of a node can be filtered by: its metadata, and its source under the stores' names."""
    source = node.ref_doc_id
    names = ("ref_doc_id", "doc_id", "document_id") if source else ()
    return {**dict.fromkeys(names, source), **node.metadata}


def _raw_text(rest: dict[str, Any], node: BaseNode) -> str | None:
    """The node's own text, taken out of `rest`; None where it has none at all."""
    if isinstance(node, TextNode):
        return node.text
    resource = rest.get("text_resource")
    text: str | None = resource.pop("text", None) if resource else None
    return text


def _whereabouts(raw: str | None, text: str) -> dict[str, Any]:
    """Where in the document's text the node's own is, to keep it once; else the text itself."""
    if raw is None:
        return {}
    core = raw.rstrip()
    start = text.rfind(core)
    if start < 0:
        return {"text": raw}
    return {"start": start, "stop": start + len(core), "tail": raw[len(core) :]}
