"""What documents cost on one machine, by their number, beside what else people search with.

    python -m tests.bench.scale --sizes 10000 100000 1000000 --plot scale.png --json scale.json

Each measurement is a process of its own over the same texts, vectors and queries (see
`tests.bench.synthetic`). Printed, in Markdown: indexing, disk, memory, opening, recall by words and
by vectors, filtered and not, re-scoring, the recommended cascade by stage, and for each cost how
fast it grows with the number of documents (the slope of log cost over log number: 1 is in
proportion). Run by hand, on Linux; nothing is asserted. Needs the extras `bench` and `chroma`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from tests.bench.encode import machine
from tests.bench.scale_report import draw, report
from tests.bench.synthetic import Repeated, passages, questions, questions_of, texts

# The tasks of one size, in their order, and up to how many documents a peer is asked to hold.
TASKS = (
    "ingest",
    "words",
    "ingest_vectors",
    "meaning",
    "cascade",
    "rank_bm25",
    "bm25s",
    "chroma",
    "floors",
)
LIMITS = dict.fromkeys(("rank_bm25", "chroma", "floors"), 100_000)
FOLDERS = {"ingest": "words", "ingest_vectors": "vectors"}


def main(given: list[str] | None = None) -> None:
    args = _arguments().parse_args(given)
    folder = args.folder or Path(tempfile.mkdtemp(prefix="stepwell-scale-"))
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{machine()}, load average {os.getloadavg()[0]:.1f} at the start"
    print(about, flush=True)
    try:
        made = prepare(folder, max(args.sizes), args)
        print(made, flush=True)
        answers = measured(folder, args)
    finally:
        if args.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    report(answers, args.sizes)
    print(f"load average {', '.join(f'{each:.1f}' for each in os.getloadavg())} at the end")
    if args.json:
        about += f"; {os.getloadavg()[0]:.1f} at the end; {made}"
        args.json.write_text(json.dumps({"about": about, "answers": answers}, indent=1))
    if args.plot:
        draw(answers, args.sizes, args.plot)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--vectors", help="as in Corpus.open; what it does by itself if left out")
    parser.add_argument("--passages", type=int, default=2000, help="passages really encoded")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--dense", type=int, default=40, help="how many are asked for vectors")
    parser.add_argument("--cascades", type=int, default=20, help="how many of the whole cascade")
    parser.add_argument("--folder", type=Path, help="where the data is kept; removed if left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser


def prepare(folder: Path, size: int, args: argparse.Namespace) -> str:
    """Write texts, queries and the vectors of a few passages; one line about them."""
    file, kept = folder / "texts.txt", folder / "passages.json"
    began = time.perf_counter()
    real = passages(args.passages)
    if not kept.exists():
        base, noise = Repeated.measured(real)
        np.save(folder / "base.npy", base)
        kept.write_text(json.dumps({"passages": real, "noise": noise}), "utf-8")
    if not file.exists() or json.loads((folder / "size.json").read_text()) < size:
        with file.open("w", encoding="utf-8") as out:
            out.writelines(f"{text}\n" for text in texts(size, real))
        (folder / "size.json").write_text(json.dumps(size))
    with file.open(encoding="utf-8") as drawn:
        asked = questions_of(questions(args.queries), drawn, args.queries)
    (folder / "queries.json").write_text(json.dumps(asked), "utf-8")
    noise = json.loads(kept.read_text("utf-8"))["noise"]
    return (
        f"{size:,} texts, {file.stat().st_size / size:.0f} bytes each; vectors of {len(real):,} "
        f"passages by the packaged encoder, repeated with noise of length {noise:.2f}; "
        f"{len(asked)} queries; prepared in {time.perf_counter() - began:.0f} s"
    )


def measured(folder: Path, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every task's answer, by size (as a string) and name."""
    options = {name: getattr(args, name) for name in ("vectors", "dense", "cascades")}
    answers: dict[str, dict[str, Any]] = {}
    jobs = [
        (size, task)
        for size in args.sizes
        for task in TASKS
        if task in args.only and size <= LIMITS.get(task, size)
    ]
    with Progress(transient=True) as progress:
        bar = progress.add_task("", total=len(jobs))
        for size, task in jobs:
            progress.update(bar, description=f"{size:,} {task}")
            answers.setdefault(str(size), {})[task] = answer(task, folder, size, options)
            progress.advance(bar)
            if args.json:
                args.json.write_text(json.dumps({"answers": answers}, indent=1))
            last = [later for number, later in jobs if number == size][-1]
            if task == last and args.folder is None:
                for old in folder.glob(f"*-{size}"):
                    shutil.rmtree(old)
    return answers


def answer(task: str, folder: Path, size: int, options: dict[str, Any]) -> dict[str, Any]:
    """What a process made of one task says; an error is said and is no answer."""
    command = [sys.executable, "-m", "tests.bench.scale_tasks"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, task, str(folder), str(size), json.dumps(options)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{task} of {size:,} failed: {done.stderr[-1500:]}", file=sys.stderr)
        return {}
    made: dict[str, Any] = json.loads(done.stdout)
    return {**made, "took": time.perf_counter() - began}


if __name__ == "__main__":
    main()
