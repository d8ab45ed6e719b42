"""One reranker of one library, set up as its own documentation says, in a process of its own.

    python -m tests.bench.contenders NAME MODEL   (queries as lines of JSON on stdin)

A contender is a function from a folder with a cross-encoder to a function from a query and its
passages to the scores of these passages, in their order.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Score = Callable[[str, list[str]], Sequence[float]]


def stepwell(model: str) -> Score:
    import stepwell.models as models

    scorer = models.load_scorer(model, backend="auto")
    note(f"{scorer.backend}")
    return lambda query, passages: scorer.score(query, passages).values.tolist()


def sentence_transformers(model: str) -> Score:
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(model)
    return lambda query, passages: encoder.predict([(query, text) for text in passages]).tolist()


def langchain(model: str) -> Score:
    from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
    from langchain_community.cross_encoders import HuggingFaceCrossEncoder
    from langchain_core.documents import Document

    def score(query: str, passages: list[str]) -> Sequence[float]:
        documents = [Document(page_content=text, id=str(at)) for at, text in enumerate(passages)]
        reranker = CrossEncoderReranker(model=encoder, top_n=len(documents))
        ranked = reranker.compress_documents(documents, query)
        # It returns no scores: places from the last to the first stand for them.
        place = {document.id: len(ranked) - at for at, document in enumerate(ranked)}
        return [place[str(at)] for at in range(len(passages))]

    encoder = HuggingFaceCrossEncoder(model_name=model)
    return score


def llama_index(model: str) -> Score:
    from llama_index.core.postprocessor import SentenceTransformerRerank
    from llama_index.core.schema import NodeWithScore, TextNode

    def score(query: str, passages: list[str]) -> Sequence[float]:
        nodes = [
            NodeWithScore(node=TextNode(text=text, id_=str(at))) for at, text in enumerate(passages)
        ]
        ranked = reranker.postprocess_nodes(nodes, query_str=query)
        made = {each.node.node_id: float(each.score or 0) for each in ranked}
        return [made[str(at)] for at in range(len(passages))]

    reranker = SentenceTransformerRerank(model=model, top_n=1000)
    return score


def rerankers(model: str) -> Score:
    from rerankers import Reranker

    ranker = Reranker(model, model_type="cross-encoder", verbose=0)

    def score(query: str, passages: list[str]) -> Sequence[float]:
        ranked = ranker.rank(query=query, docs=passages, doc_ids=list(range(len(passages))))
        made = {result.doc_id: float(result.score) for result in ranked.results}
        return [made[at] for at in range(len(passages))]

    return score


def flashrank(model: str) -> Score:
    from flashrank import Ranker, RerankRequest

    # One of the names that it knows, with our weights in the form that its own have.
    name = "ms-marco-MiniLM-L-12-v2"
    home = Path(model).with_name("flashrank")
    _flashrank_files(Path(model), home / name)
    ranker = Ranker(model_name=name, cache_dir=str(home))

    def score(query: str, passages: list[str]) -> Sequence[float]:
        rows = [{"id": at, "text": text} for at, text in enumerate(passages)]
        made = {row["id"]: float(row["score"]) for row in _ranked(ranker, query, rows)}
        return [made[at] for at in range(len(passages))]

    def _ranked(ranker: Any, query: str, rows: list[dict[str, Any]]) -> Any:
        return ranker.rerank(RerankRequest(query=query, passages=rows))

    return score


def _flashrank_files(model: Path, folder: Path) -> None:
    from stepwell.models.convert import _onnx
    from stepwell.models.source import load_source

    if (folder / "done").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = load_source(str(model))
    _onnx(source, folder / "flashrank-MiniLM-L-12-v2_Q.onnx", quantise=True)
    source.fast.save_pretrained(folder)
    source.model.config.save_pretrained(folder)
    names = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token")
    special = {name: getattr(source.fast, name) for name in names}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "done").touch()


CONTENDERS: dict[str, Callable[[str], Score]] = {
    "sentence-transformers": sentence_transformers,
    "stepwell": stepwell,
    "langchain": langchain,
    "llama-index": llama_index,
    "rerankers": rerankers,
    "flashrank": flashrank,
}


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    start = time.perf_counter()
    score = CONTENDERS[sys.argv[1]](sys.argv[2])
    channel.write(json.dumps({"ready": time.perf_counter() - start}) + "\n")
    channel.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        start, work = time.perf_counter(), time.process_time()
        scores = [float(x) for x in score(asked["query"], asked["passages"])]
        answer = {
            "seconds": time.perf_counter() - start,
            "work": time.process_time() - work,
            "scores": scores,
            "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
