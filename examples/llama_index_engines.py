"""LlamaIndex: a query engine, a chat engine and an evaluation over one cascade.

    pip install 'stepwell[llama-index]'
    python examples/llama_index_engines.py ["a question" ...]

The retriever is made once; engines and evaluator take it like any other. Without STEPWELL_LLM the
answers are quotes, see answering.py.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from answering import llm
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode

from stepwell.llama_index import CascadeRetriever

QUESTIONS = (
    "How many days of paid holiday does everyone have?",
    "Do I need a receipt for a cheap lunch?",
)
JUDGED = {
    "rotate the log files now": "logs",
    "somebody took my notebook computer": "laptop",
    "I have a fever and stay at home": "sick",
    "wifi for visitors": "guests",
    "undo a release that failed": "deploy",
}
METRICS = ["mrr", "hit_rate", "ndcg"]


def main() -> None:
    """Ask, chat, measure."""
    retriever = handbook()
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm())
    for question in sys.argv[1:] or QUESTIONS:
        response = engine.query(question)
        print(f"{question}\n  {response}")
        for source in response.source_nodes:
            print(f"    {source.score:.3f}  {source.node_id}")

    chat = ContextChatEngine.from_defaults(retriever=retriever, llm=llm())
    for turn in ("How long is a shift on call?", "And how fast must I answer a page?"):
        print(f"\nYou: {turn}\nEngine: {chat.chat(turn)}")

    print("\n" + "  ".join(f"{name} {mean:.2f}" for name, mean in evaluate(retriever).items()))


def handbook() -> CascadeRetriever:
    """Your nodes; give `from_documents` a path, and the index stays on disk."""
    pages = json.loads(Path(__file__).with_name("handbook.json").read_text(encoding="utf-8"))
    nodes = [TextNode(id_=page.pop("id"), text=page.pop("text"), metadata=page) for page in pages]
    return CascadeRetriever.from_documents(nodes, k=3)


def evaluate(retriever: CascadeRetriever) -> dict[str, float]:
    """The mean of each measure over the judged questions, all asked at once."""
    evaluator = RetrieverEvaluator.from_metric_names(METRICS, retriever=retriever)

    async def ask() -> list[dict[str, float]]:
        asked = [evaluator.aevaluate(query, [id]) for query, id in JUDGED.items()]
        return [each.metric_vals_dict for each in await asyncio.gather(*asked)]

    values = asyncio.run(ask())
    return {name: sum(each[name] for each in values) / len(values) for name in METRICS}


if __name__ == "__main__":
    main()
