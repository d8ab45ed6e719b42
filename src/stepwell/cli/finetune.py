"""`stepwell finetune`: adapt the embedded cross-encoder to a user's own judged questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepwell.cli.terminal import AsJson, Debug, print_json, progress, reported
from stepwell.corpus import Corpus
from stepwell.errors import import_extra
from stepwell.evaluate import read_qrels
from stepwell.ingest.beir import read_queries


def finetune(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus with an encoder.")],
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="queries.jsonl, or .gz.")],
    qrels: Annotated[Path, typer.Argument(metavar="QRELS", help="In BEIR's or TREC's form.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="For the new weights.")],
    steps: Annotated[int, typer.Option(min=1, help="Of training, 40 pairs each.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the split and of the training.")] = 0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Adapt the embedded cross-encoder, and its blend, to your own judged questions.

    A fifth of them is held out; weights that do not rank better there, beyond chance, are not
    written, and the answer says so.
    """
    with reported(debug=debug, as_json=as_json):
        for module, extra in (("torch", "train"), ("onnx", "train"), ("scipy.stats", "eval")):
            import_extra(module, extra=extra)
        from transformers.utils import logging

        from stepwell.train.finetune import finetune as adapt

        # Its bars and its report on the trunk's unused head say nothing to who runs this.
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        with (
            Corpus.open(corpus, create=False, read_only=True) as opened,
            progress("trained") as trained,
        ):
            made = adapt(
                opened,
                read_queries(queries),
                read_qrels(qrels),
                out,
                steps=steps,
                seed=seed,
                progress=lambda what, n, total: trained(n, total) if what == "trained" else None,
            )
    if as_json:
        print_json(made.to_dict())
        return
    learnt, chosen, held = made.questions
    typer.echo(
        f"{learnt} questions learnt from, {chosen} to choose the blend on, {held} held out\n"
        f"nDCG@10 held out: {made.before:.4f} as it is, {made.reblended:.4f} with another blend, "
        f"{made.after:.4f} with new weights"
    )
    low, high = made.gain95
    gain = f"the gain lies between {low:+.4f} and {high:+.4f} with 95% confidence"
    if made.recommended == "weights":
        typer.echo(f"{gain}\nuse CrossEncoder({str(made.out)!r}, blend={made.blend:g})")
    elif made.recommended == "blend":
        typer.echo(f"{gain}\nuse CrossEncoder(blend={made.blend:g}); no weights were written")
    else:
        typer.echo(f"{gain}: not beyond chance, nothing is recommended and nothing was written")
