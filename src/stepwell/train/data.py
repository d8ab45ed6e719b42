"""Collections to train and to choose on, read from a folder in the BEIR layout."""

from __future__ import annotations

import ast
import gzip
import json
import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the positions of its relevant passages, with their grades."""

    text: str
    relevant: dict[int, int]


@dataclass(frozen=True, slots=True)
class Collection:
    """Passages, questions to learn from and questions that are held out to choose by."""

    name: str
    passages: list[str]
    train: list[Question]
    held_out: list[Question]


def rows(path: Path, /) -> Iterator[dict[str, Any]]:
    """Yield the objects of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def join(title: str, text: str) -> str:
    """Return title and text as one passage, as the corpus stores it."""
    return f"{title}\n{text}".strip() if title else text


def read_qrels(path: Path, /) -> dict[str, dict[str, int]]:
    """Return question id -> passage id -> grade, of the judged pairs above 0."""
    found: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            question, passage, grade = line.split()
            if int(grade) > 0:
                found.setdefault(question, {})[passage] = int(grade)
    return found


def read_beir(folder: Path, split: str, /) -> tuple[list[str], list[Question]]:
    """Return the passages and the judged questions of one split of a BEIR folder."""
    place: dict[str, int] = {}
    passages: list[str] = []
    for row in rows(folder / "corpus.jsonl.gz"):
        place[row["_id"]] = len(passages)
        passages.append(join(row.get("title", ""), row["text"]))
    qrels = read_qrels(folder / "qrels" / f"{split}.tsv")
    questions = [
        Question(row["text"], {place[p]: grade for p, grade in qrels[row["_id"]].items()})
        for row in rows(folder / "queries.jsonl.gz")
        if row["_id"] in qrels
    ]
    return passages, questions


def nfcorpus(data: Path, /) -> Collection:
    """Nutrition and medicine: its own train split, and its dev split held out."""
    passages, train = read_beir(data / "nfcorpus", "train")
    return Collection("nfcorpus", passages, train, read_beir(data / "nfcorpus", "dev")[1])


def vespa(data: Path, /, *, seed: int) -> Collection:
    """Product documentation; every eighth page is held out with all of its questions."""
    passages, questions = read_beir(data / "vespa-docs", "test")
    ids = [row["_id"] for row in rows(data / "vespa-docs" / "corpus.jsonl.gz")]
    pages = [name.split(".html")[0] for name in ids]
    kept = set(random.Random(seed).sample(sorted(set(pages)), k=len(set(pages)) // 8))
    # A question with answers on both sides belongs to neither.
    train = [q for q in questions if not any(pages[p] in kept for p in q.relevant)]
    held = [q for q in questions if all(pages[p] in kept for p in q.relevant)]
    return Collection("vespa-docs", passages, train, held)


def squad(data: Path, /, *, articles: int, seed: int) -> Collection:
    """Questions on Wikipedia paragraphs, of some articles; every tenth article is held out."""
    chance = random.Random(seed)
    corpus = list(rows(data / "squad11-train" / "corpus.jsonl.gz"))
    titles = sorted({row["title"] for row in corpus})
    chosen = chance.sample(titles, k=min(articles, len(titles)))
    held_titles = set(chosen[: len(chosen) // 10])
    corpus = [row for row in corpus if row["title"] in set(chosen)]
    place = {row["_id"]: index for index, row in enumerate(corpus)}
    passages = [join(row["title"].replace("_", " "), row["text"]) for row in corpus]
    train: list[Question] = []
    held: list[Question] = []
    for row in rows(data / "squad11-train" / "train.jsonl.gz"):
        at = place.get(row["positive"])
        if at is not None:
            side = held if corpus[at]["title"] in held_titles else train
            side.append(Question(row["text"], {at: 1}))
    return Collection("squad", passages, train, held)


def medquad(data: Path, /, *, answers: int, seed: int) -> Collection:
    """Questions to medical web pages; every tenth question is held out."""
    chance = random.Random(seed)
    found = list(rows(data / "medquad-train" / "train.jsonl.gz"))
    # Whole titles stay together: their other answers are the hard negatives.
    titles = sorted({row.get("title", "") for row in found})
    chance.shuffle(titles)
    rank = {title: index for index, title in enumerate(titles)}
    found = sorted(found, key=lambda row: rank[row.get("title", "")])[:answers]
    passages: list[str] = []
    place: dict[str, int] = {}
    questions = []
    for row in found:
        if row["positive"] not in place:
            place[row["positive"]] = len(passages)
            passages.append(row["positive"])
        questions.append(Question(row["text"], {place[row["positive"]]: 1}))
    cut = len(questions) // 10
    return Collection("medquad", passages, questions[cut:], questions[:cut])


def python_code(*, functions: int, seed: int) -> Collection:
    """Functions of the running interpreter's standard library, asked for by their docstrings.

    The question is the docstring's first paragraph, the passage the function without it. Every
    tenth file is held out.
    """
    chance = random.Random(seed)
    root = Path(sysconfig.get_path("stdlib"))
    found = [
        (str(file.relative_to(root)), asked, code)
        for file in sorted(root.rglob("*.py"))
        if not {"site-packages", "test", "tests", "idlelib"} & set(file.relative_to(root).parts)
        for asked, code in _documented(file)
    ]
    found = sorted(chance.sample(found, k=min(functions, len(found))))
    files = sorted({name for name, _, _ in found})
    held_files = set(chance.sample(files, k=len(files) // 10))
    train: list[Question] = []
    held: list[Question] = []
    for at, (name, asked, _) in enumerate(found):
        (held if name in held_files else train).append(Question(asked, {at: 1}))
    return Collection("python-code", [code for _, _, code in found], train, held)


def _documented(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the first paragraph of each function's docstring, and the function without it."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        asked = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
        if len(node.body) > 1 and 4 <= len(asked.split()) <= 40:
            node.body = node.body[1:]
            yield asked, ast.unparse(node)


def collections(data: Path, /, *, seed: int = 7) -> list[Collection]:
    """Return all collections that the embedded models may learn from.

    Cranfield, chunkeval-800, anthropic-codebase, cosqa-dev, squad11-dev and the dev and test
    questions of nfcorpus are for tests and stay out.
    """
    return [
        nfcorpus(data),
        vespa(data, seed=seed),
        squad(data, articles=150, seed=seed),
        medquad(data, answers=5000, seed=seed),
        python_code(functions=6000, seed=seed),
    ]
