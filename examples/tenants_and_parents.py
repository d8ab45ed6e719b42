"""Whole documents from their best passages, for one tenant at a time.

    pip install 'stepwell[langchain]'
    python examples/tenants_and_parents.py [TENANT "a question"]

Passages are indexed, ranked and read; what comes back is the document that they were cut from, once
each. One corpus and one set of models serve all tenants. A retriever is made for a tenant, with the
filter in it: a call can narrow that filter and never widen it, and a document of another tenant
does not come back when a passage names it as its parent either.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from answering import quote

import stepwell as sw
from stepwell.langchain import CascadeRetriever

ASKED = (
    ("acme", "When are the logs rotated?"),
    ("globex", "When are the logs rotated?"),
    ("globex", "May I work from another country?"),
)


def main() -> None:
    """Ask for each tenant, then try to look over the fence."""
    with sw.Corpus.temporary() as passages, sw.Corpus.temporary(encoder=None) as parents:
        parents.add(documents())
        passages.add(each for parent in parents for each in cut(parent))
        print(f"{len(parents)} documents in {len(passages)} passages")
        cascade = parent_cascade(passages, parents)
        asked = [tuple(sys.argv[1:3])] if len(sys.argv) > 2 else ASKED
        for tenant, question in asked:
            found = retriever_of(tenant, cascade).invoke(question)
            print(f"\n{tenant}: {question}\n  {quote(question, [d.page_content for d in found])}")
            for document in found:
                print(f"    {document.id}, for passage {document.metadata['stepwell_matched']}")
        acme = retriever_of("acme", cascade)
        print(f"\nacme asks for globex: {acme.invoke('logs', filter={'tenant': 'globex'})}")
        two = acme.invoke("logs", filter={"team": {"$in": ["sre", "security"]}})
        print(f"acme asks for two teams: {sorted(each.id for each in two)}")


def documents() -> Iterator[sw.Document]:
    """Long documents of two tenants: the pages of each team, put together."""
    pages = json.loads(Path(__file__).with_name("handbook.json").read_text(encoding="utf-8"))
    for tenant, night in (("acme", "two"), ("globex", "five")):
        for team in dict.fromkeys(page["team"] for page in pages):
            sections = [f"{p['title']}. {p['text']}" for p in pages if p["team"] == team]
            text = "\n\n".join(sections).replace("every night at two", f"every night at {night}")
            yield sw.Document(f"{tenant}/{team}", text, {"tenant": tenant, "team": team})


def cut(parent: sw.Document) -> Iterator[sw.Document]:
    """A passage a paragraph: with its parent's metadata, to filter by, and its parent's id."""
    for number, text in enumerate(parent.text.split("\n\n"), 1):
        yield sw.Document(f"{parent.id}#{number}", text, {**parent.metadata, "parent": parent.id})


def parent_cascade(passages: sw.Corpus, parents: sw.Corpus) -> sw.Cascade:
    """The recommended cascade down to twenty passages, then the documents of the best."""
    ranked = sw.Cascade.default(passages, k=20)
    return sw.Cascade([*ranked.stages, sw.Parents(parents, k=3)])


def retriever_of(tenant: str, cascade: sw.Cascade) -> CascadeRetriever:
    """What a request of this tenant may see; cheap enough to make for each request."""
    return CascadeRetriever(cascade=cascade, k=3, filter={"tenant": tenant})


if __name__ == "__main__":
    main()
