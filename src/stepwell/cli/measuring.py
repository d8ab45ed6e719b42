"""What `eval` and `compare` share: a data set's corpus, and systems by name or file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import stepwell
from stepwell.cascade import Cascade
from stepwell.cli.terminal import progress, say
from stepwell.corpus import Corpus
from stepwell.errors import InputError
from stepwell.evaluate import Dataset, Report, evaluate, evaluate_run, read_run
from stepwell.evaluate.asking import probable_of
from stepwell.evaluate.identity import identity
from stepwell.evaluate.measures import depth_of
from stepwell.ingest.cache import cache_folder, cached_corpus, fill, slug
from stepwell.models import load_encoder
from stepwell.stages.presets import PRESETS, preset


@dataclass(frozen=True, slots=True)
class Named:
    """A system as the command line names it: a preset, a cascade file or a run file."""

    name: str

    @classmethod
    def of(cls, name: str) -> Named:
        """The name, checked before anything is indexed.

        Raises:
            InputError: It is none of the three.
            ConfigurationError: The cascade file is faulty or of another version.
        """
        found = cls(name)
        if name in PRESETS:
            return found
        if not Path(name).is_file():
            raise InputError(
                f"no preset is named {name!r} (there are {', '.join(PRESETS)}), and there is no "
                "such file: a cascade as TOML, or a run in TREC's form"
            )
        if found.is_cascade:
            Cascade.load(name, None)
        return found

    @property
    def is_cascade(self) -> bool:
        """Whether it can be asked; a run file was made elsewhere."""
        return self.name in PRESETS or Path(self.name).suffix == ".toml"

    @property
    def title(self) -> str:
        """What a report calls it."""
        return self.name if self.name in PRESETS else Path(self.name).name

    def cascade(self, corpus: Corpus) -> Cascade:
        """It, over a corpus."""
        if self.name in PRESETS:
            return Cascade(preset(self.name, corpus))
        return Cascade.load(self.name, corpus)


@dataclass(frozen=True, slots=True)
class Bench:
    """Measures named systems on the same queries.

    Attributes:
        dataset: The questions.
        corpus: Holds their documents; None where only runs are measured.
        measures: Names of measures.
        seed: Of bootstrap, test and folds.
        keep: Whether answers are kept until they are complete.
    """

    dataset: Dataset
    corpus: Corpus | None
    measures: Sequence[str]
    seed: int
    keep: bool

    def measured(
        self, named: Named, *, baseline: Report | None = None, funnel: bool = False
    ) -> Report:
        """Ask it, with a bar; or read its run."""
        if not named.is_cascade or self.corpus is None:
            return evaluate_run(
                read_run(named.name),
                self.dataset.qrels,
                dataset=self.dataset.name,
                measures=self.measures,
                baseline=baseline,
                preset=named.title,
                seed=self.seed,
            )
        cascade = named.cascade(self.corpus)
        asks_all = probable_of(cascade) is not None
        total = len((self.dataset if asks_all else self.dataset.answerable()).queries)
        with progress(f"asked {named.title}:") as asked:
            return evaluate(
                cascade,
                self.dataset,
                measures=self.measures,
                baseline=baseline,
                with_funnel=funnel,
                preset=named.title,
                seed=self.seed,
                progress=lambda done: asked(done, total),
                resume=self._answers(cascade, funnel) if self.keep else None,
            )

    def _answers(self, cascade: Cascade, funnel: bool) -> Path:
        """The file of the answers: its name stands for all that they depend on."""
        depends = [
            stepwell.__version__,
            self.dataset.digest(),
            identity(cascade),
            depth_of(self.measures),
            funnel,
        ]
        digest = sha256(json.dumps(depends).encode()).hexdigest()[:16]
        return cache_folder() / "answers" / f"{slug(self.dataset.name)}-{digest}.jsonl"


@contextmanager
def bench(
    dataset: Dataset,
    named: Sequence[Named],
    *,
    corpus: Path | None,
    measures: Sequence[str],
    encoder_name: str | None,
    analyzer: str,
    cache: bool,
    seed: int,
    funnel: bool = False,
) -> Iterator[Bench]:
    """A bench for these systems, over a corpus if one of them searches."""
    searching = {each.name for each in named if each.is_cascade}
    if not searching:
        yield Bench(dataset, None, measures, seed, keep=False)
        return
    # Vectors cost minutes: none where nothing will look at them.
    encoder = None if searching == {"bm25"} and not funnel else encoder_name
    with opened(dataset, corpus, encoder_name=encoder, analyzer=analyzer, cache=cache) as searched:
        check_judged(dataset.answerable(), searched, told=False)
        yield Bench(dataset, searched, measures, seed, keep=cache)


def chosen(dataset: Dataset, queries: int | None, seed: int) -> Dataset:
    """The queries to ask: those that have a relevant document, or as many of them."""
    dataset = dataset.answerable()
    return dataset if queries is None else dataset.sample(queries, seed=seed)


def opened(
    dataset: Dataset, corpus: Path | None, *, encoder_name: str | None, analyzer: str, cache: bool
) -> Corpus:
    """The corpus of a data set: one that is there, one kept from before, or a new one."""
    if corpus is not None:
        return Corpus.open(corpus, encoder=encoder_name, create=False)
    documents = dataset.documents
    if documents is None:
        raise InputError(f"{dataset.name} has no documents to search; name a corpus of them")
    encoder = None if encoder_name is None else load_encoder(encoder_name)
    with progress("indexed") as indexed:
        if cache:
            return cached_corpus(
                dataset.name,
                documents.read,
                key=documents.key(),
                encoder=encoder,
                analyzer=analyzer,
                progress=indexed,
            )
        made = Corpus.temporary(encoder=encoder, analyzer=analyzer)
        fill(made, documents.read(), progress=indexed)
        return made


def check_judged(dataset: Dataset, corpus: Corpus, *, told: bool = True) -> None:
    """Refuse judgements of other documents, and say how many the corpus lacks.

    Args:
        dataset: With the judgements.
        corpus: What is searched.
        told: Whether to say it here; a report says it by itself.
    """
    judged = {id for grades in dataset.qrels.values() for id in grades}
    lacking = sum(id not in corpus for id in judged)
    if judged and lacking == len(judged):
        raise InputError(
            f"none of the {len(judged)} documents judged in {dataset.name} is in {corpus.path}; "
            "measure the corpus that was made from the data set, or leave --corpus out"
        )
    if lacking and told:
        say(f"{lacking} of {len(judged)} judged documents are not indexed: counted as not found")


def remark(reports: Sequence[Report], *, left_out: bool) -> None:
    """Say what a reader must know of the numbers, each thing once."""
    if left_out and reports[0].left_out:
        say(f"{reports[0].left_out} queries left out that nobody judged")
    for text in dict.fromkeys(remark for each in reports for remark in each.remarks):
        say(text, style="yellow")


def writable(*files: Path | None) -> None:
    """Refuse a file that cannot be written before anything is asked.

    Raises:
        InputError: Its folder is not there, or it is a folder.
    """
    for file in files:
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise InputError(f"{file} cannot be written: it is a folder, or its folder is missing")


def write(file: Path | None, text: Callable[[], str]) -> None:
    """Write a report to a file, if one was named."""
    if file is None:
        return
    try:
        file.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror or error}") from error
    say(f"wrote {file}")
