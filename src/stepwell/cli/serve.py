"""`stepwell serve`: a corpus and a reranker behind HTTP."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from stepwell.cli.keys import key_from
from stepwell.cli.terminal import CascadeFile, Debug, Encoder, encoder_named, reported, say
from stepwell.errors import ConfigurationError, import_extra

KEY = "STEPWELL_SERVE_KEY"
NEEDED = ("fastapi", "uvicorn", "opentelemetry.exporter.prometheus")


def serve(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH]",
            help="The corpus, or the URL or .db file of a Milvus; without it, only rerank.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 takes any that is free.")
    ] = 8000,
    model: Annotated[
        str, typer.Option(help="embedded, or a cross-encoder by name or path.")
    ] = "embedded",
    backend: Annotated[
        str, typer.Option(help="What runs a model by name: torch, onnx, openvino or auto.")
    ] = "torch",
    preset_name: Annotated[
        str | None, typer.Option("--preset", help="The cascade of /search, as in `search`.")
    ] = None,
    cascade_file: CascadeFile = None,
    shadow: Annotated[
        Path | None,
        typer.Option(help="A cascade file to run beside searches; how it differs is logged."),
    ] = None,
    shadow_rate: Annotated[
        float, typer.Option(help="The share of searches that --shadow is compared on.")
    ] = 1.0,
    encoder: Encoder = "embedded",
    deadline: Annotated[
        float | None, typer.Option(help="Seconds that a search may take at most.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help=f"File with the key that callers must send; else ${KEY}, if it is set."),
    ] = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds that requests are still accepted after SIGTERM.")
    ] = 5.0,
    max_requests: Annotated[int, typer.Option(help="Requests worked on at once.")] = 64,
    max_bytes: Annotated[int, typer.Option(help="Bytes of a request.")] = 16 * 2**20,
    max_documents: Annotated[int, typer.Option(help="Documents of a request.")] = 1000,
    max_characters: Annotated[int, typer.Option(help="Characters of a document.")] = 100_000,
    max_query: Annotated[int, typer.Option(help="Characters of a query.")] = 10_000,
    max_k: Annotated[int, typer.Option(help="Documents that a search answers.")] = 100,
    debug: Debug = False,
) -> None:
    """Serve a corpus and a reranker over HTTP."""
    with reported(debug=debug):
        for module in NEEDED:
            import_extra(module, extra="serve")
        from stepwell.server import Limits, Service
        from stepwell.server.running import bound, is_loopback, run, url_of

        if backend not in ("torch", "onnx", "openvino", "auto"):
            raise ConfigurationError(f"--backend is torch, onnx, openvino or auto, not {backend!r}")
        key = key_from(key_file, KEY)
        with bound(host, port) as listening:
            service = Service.open(
                path,
                model=model,
                backend=backend,  # type: ignore[arg-type]
                encoder=encoder_named(encoder),
                preset_name=preset_name,
                cascade_file=cascade_file,
                limits=Limits(
                    body=max_bytes,
                    documents=max_documents,
                    characters=max_characters,
                    query=max_query,
                    k=max_k,
                    requests=max_requests,
                ),
                key=key,
                deadline=deadline,
                shadow_file=shadow,
                shadow_rate=shadow_rate,
            )
            _tell(service.corpus.repaired if service.corpus else ())
            if key is None and not is_loopback(listening):
                say(f"anybody who reaches {host} can ask: set a key (--key-file)", style="yellow")
            what = getattr(service.corpus, "uri", path)  # a URL is shown without its credentials
            say(f"stepwell serves {what or 'a reranker'} at {url_of(listening)}")
            run(service, listening, drain=drain)


def _tell(repaired: Iterable[str]) -> None:
    """What was mended in the corpus; from then on, log lines with their time."""
    for repair in repaired:
        say(f"repaired: {repair}")
    form = "%(asctime)s %(name)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=form)
    for name in ("stepwell.server", "stepwell.shadow"):
        logging.getLogger(name).setLevel(logging.INFO)
