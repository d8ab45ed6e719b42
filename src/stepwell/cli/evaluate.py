"""`stepwell eval`: measure a cascade on a data set, or a run that was made elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from stepwell.cascade import Cascade
from stepwell.cli.tables import show_report
from stepwell.cli.terminal import (
    AsJson,
    Debug,
    Encoder,
    encoder_named,
    print_json,
    progress,
    reported,
    say,
    stdout,
)
from stepwell.corpus import Corpus
from stepwell.errors import InputError, import_extra
from stepwell.evaluate import (
    Dataset,
    Report,
    evaluate_run,
    read_qrels,
    read_run,
)
from stepwell.evaluate import evaluate as evaluate_cascade
from stepwell.ingest import read_beir
from stepwell.ingest.beir import corpus_file
from stepwell.ingest.cache import cached_corpus, fill
from stepwell.models import load_encoder
from stepwell.stages.presets import DEFAULT, preset


def evaluate(
    dataset: Annotated[
        Path | None, typer.Argument(metavar="[DATASET]", help="A folder in the BEIR layout.")
    ] = None,
    preset_name: Annotated[
        str,
        typer.Option("--preset", help="bm25, dense, hybrid, two-stage, classic or three-stage."),
    ] = DEFAULT,
    split: Annotated[str, typer.Option(help="Which qrels/SPLIT.tsv.")] = "test",
    queries: Annotated[
        int | None, typer.Option(help="How many queries, drawn at random; all by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw and of the bootstrap.")] = 0,
    corpus: Annotated[
        Path | None, typer.Option(help="A corpus that holds the data set already.")
    ] = None,
    encoder: Encoder = "embedded",
    analyzer: Annotated[str, typer.Option(help="A language, plain or code.")] = "english",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Whether the index is kept for the next run.")
    ] = True,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run in TREC's form, instead of a data set.")
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="With --run: judgements in BEIR's or TREC's form.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure a cascade on a data set, stage by stage, or a run that was made elsewhere.

    nDCG@10, MRR@10 and R@100 by ir-measures, each with a 95% interval.
    """
    with reported(debug=debug, as_json=as_json):
        import_extra("ir_measures", extra="eval")  # what is missing is said before indexing
        if run is not None or qrels is not None:
            report = _of_run(dataset, run, qrels, seed)
        else:
            preset(preset_name)  # as is an unknown name
            chosen = _chosen(dataset, split, queries, seed)
            name = None if preset_name == "bm25" else encoder_named(encoder)
            with _opened(_folder(dataset), corpus, name, analyzer, cache) as opened:
                _check_judged(chosen, opened)
                cascade = Cascade(preset(preset_name, opened))
                with progress("asked") as asked:
                    report = evaluate_cascade(
                        cascade,
                        chosen,
                        preset=preset_name,
                        seed=seed,
                        progress=lambda done: asked(done, len(chosen.queries)),
                    )
    _show(report, as_json=as_json)


def _of_run(dataset: Path | None, run: Path | None, qrels: Path | None, seed: int) -> Report:
    if run is None or qrels is None or dataset is not None:
        raise InputError("--run FILE and --qrels FILE go together, and take no DATASET")
    return evaluate_run(read_run(run), read_qrels(qrels), dataset=qrels.stem, seed=seed)


def _folder(dataset: Path | None) -> Path:
    if dataset is None:
        raise InputError("name a DATASET folder, or a run with --run FILE --qrels FILE")
    return dataset


def _chosen(dataset: Path | None, split: str, queries: int | None, seed: int) -> Dataset:
    chosen = Dataset.load(_folder(dataset), split=split)
    return chosen if queries is None else chosen.sample(queries, seed=seed)


def _opened(
    dataset: Path, corpus: Path | None, encoder_name: str | None, analyzer: str, cache: bool
) -> Corpus:
    if corpus is not None:
        return Corpus.open(corpus, encoder=encoder_name, create=False)
    file = corpus_file(dataset)
    if file is None:
        raise InputError(f"{dataset} has no corpus.jsonl or corpus.jsonl.gz")
    encoder = None if encoder_name is None else load_encoder(encoder_name)
    with progress("indexed") as indexed:
        if cache:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            return cached_corpus(
                dataset.resolve().name,
                lambda: read_beir(dataset),
                key=(str(file.resolve()), content),
                encoder=encoder,
                analyzer=analyzer,
                progress=indexed,
            )
        made = Corpus.temporary(encoder=encoder, analyzer=analyzer)
        fill(made, read_beir(dataset), progress=indexed)
        return made


def _check_judged(chosen: Dataset, corpus: Corpus) -> None:
    """Say how many judged documents the corpus lacks: they count as not found."""
    judged = {id for grades in chosen.qrels.values() for id in grades}
    lacking = sum(id not in corpus for id in judged)
    if judged and lacking == len(judged):
        raise InputError(
            f"none of the {len(judged)} documents judged in {chosen.name} is in {corpus.path}; "
            "measure the corpus that was made from the data set, or leave --corpus out"
        )
    if lacking:
        say(f"{lacking} of {len(judged)} judged documents are not indexed: counted as not found")


def _show(report: Report, *, as_json: bool) -> None:
    if not as_json:
        show_report(stdout(), report)
        return
    if report.left_out:
        say(f"{report.left_out} queries left out that nobody judged")
    print_json(report.to_dict())
