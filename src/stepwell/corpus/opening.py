"""What stands behind `Corpus.open`: is it a corpus, is it ours to read, what must be caught up."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

from stepwell.corpus.analyzers import analyzer
from stepwell.corpus.kinds import AUTO, by_chroma, check_kind, crossover
from stepwell.corpus.lexical import Lexical
from stepwell.corpus.placing import Placer
from stepwell.corpus.record import FILE, FORMAT, Record, fact
from stepwell.corpus.refusals import DiskError
from stepwell.corpus.store import Store
from stepwell.corpus.upkeep import catch_up
from stepwell.corpus.verifying import Report, damage, verify
from stepwell.corpus.writing import LOCK, is_written, locked
from stepwell.errors import CorpusError, InputError
from stepwell.models.loading import EMBEDDED, EncoderSpec, load_encoder
from stepwell.models.protocols import Encoder

log = logging.getLogger("stepwell")

_FIRST = "lexical-1"


@dataclass(frozen=True, slots=True)
class Options:
    """How a corpus is to be opened, as in `Corpus.open`; `model` is the encoder once loaded."""

    encoder: EncoderSpec
    analyzer: str | None
    vectors: str | None
    create: bool
    read_only: bool
    lock_timeout: float
    model: Encoder | None = None


def opened(path: Path, options: Options) -> tuple[Store, Options, list[str]]:
    """Open or make a corpus.

    Returns:
        The store, the options as they hold now, and what had to be repaired.
    """
    if options.analyzer is not None:
        analyzer(options.analyzer)
    if options.vectors is not None:
        check_kind(options.vectors)
    if not is_corpus(path):
        _make(path, options)
    _check_record(path)
    store = Store(path, read_only=options.read_only, exact=options.vectors == "exact")
    try:
        known = _agreed(store, options)
        return store, known, _caught_up(store, known)
    except BaseException:
        store.close()
        raise


def examined(path: Path, progress: Callable[[int, int], object] | None = None) -> Report:
    """What is wrong with the corpus in a folder, of which nothing is changed.

    Raises:
        CorpusError: It holds none, one of a newer format, or a record that cannot be read.
    """
    if not is_corpus(path):
        _make(path, Options(None, None, None, False, True, 0.0))
    _check_record(path)
    store = Store(path, read_only=True)
    try:
        return verify(store, progress)
    finally:
        store.close()


def is_corpus(path: Path) -> bool:
    """Whether the folder holds a record."""
    return (path / FILE).is_file()


def check_outside(place: Path) -> None:
    """Refuse a place in the folder of a corpus, whose files are its own.

    Raises:
        InputError: It lies in one.
    """
    above = place.absolute().parent.resolve()
    for folder in (above, *above.parents):
        if is_corpus(folder):
            raise InputError(f"{str(place)!r} is inside the corpus {str(folder)!r}; name another")


def _make(path: Path, options: Options) -> None:
    where = repr(str(path))
    if path.parts[:1] in (("http:",), ("https:",)):
        raise InputError("a URL is no folder; what is in Milvus is opened by MilvusCorpus(uri)")
    if path.exists() and not path.is_dir():
        raise CorpusError(f"{where} is a file, not a corpus; name a folder")
    names = [entry.name for entry in path.iterdir()] if path.exists() else []
    if any(_holds_documents(path, name) for name in names):
        raise CorpusError(
            f"{where} is a corpus whose record ({FILE}) is missing; restore it from a backup, or "
            "index the documents again into a new folder"
        )
    making = options.create and not options.read_only
    if not all(map(_ours, names)):
        remedy = (
            "name a new or an empty folder"
            if making
            else "make one with: stepwell index SOURCE --to PATH"
        )
        raise CorpusError(f"{where} is a folder of other things, not a corpus; {remedy}")
    if not making:
        raise CorpusError(f"there is no corpus at {where}; index documents into it first")
    check_outside(path)
    encoder = None if options.encoder is None else load_encoder(options.encoder)
    space = (encoder.name, encoder.dimension) if encoder is not None else None
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(f"{where} cannot be made: {error}") from error
    with locked(path, timeout=options.lock_timeout):
        if is_corpus(path):  # someone else made it meanwhile
            return
        shutil.rmtree(path / _FIRST, ignore_errors=True)
        name = options.analyzer or "english"
        Lexical.create(path / _FIRST, analyzer=analyzer(name))
        kind = options.vectors or AUTO
        chroma = token_hex(6) if by_chroma(kind) else ""
        facts = {"analyzer": name, "vectors": kind, "lexical": _FIRST, "chroma": chroma}
        Record.create(path, facts, space)


def _ours(name: str) -> bool:
    """Whether a file is one that a killed `_make` leaves behind."""
    return name in (LOCK, _FIRST) or name.startswith(FILE)


def _holds_documents(path: Path, name: str) -> bool:
    """Whether a file can only be of a corpus that was made, and not of a killed `_make`."""
    if name != _FIRST:
        return re.fullmatch(r"vectors-\d+\.f16|lexical-\d+", name) is not None
    try:
        return bool(json.loads((path / name / "meta.json").read_text("utf-8"))["segments"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_record(path: Path) -> None:
    where = repr(str(path))
    try:
        connection = sqlite3.connect(f"{(path / FILE).absolute().as_uri()}?mode=ro", uri=True)
        try:
            version = fact(connection, "format")
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise CorpusError(
                f"{where} is no corpus of Stepwell: {FILE} is another file"
            ) from error
        return  # read-only media: the record opens it another way and says what is wrong
    except sqlite3.DatabaseError as error:
        raise CorpusError(
            f"the record of corpus {where} is damaged ({error}); restore {FILE} from a backup, or "
            "index the documents again into a new folder"
        ) from error
    if not isinstance(version, int) or version > FORMAT:
        raise CorpusError(
            f"corpus {where} has format {version}, this version of Stepwell reads up to {FORMAT}; "
            "upgrade it: pip install -U stepwell"
        )


def _agreed(store: Store, options: Options) -> Options:
    """The options with what is recorded filled in; an error where they contradict it."""
    recorded = store.record.meta()
    where = repr(str(store.path))
    if options.analyzer not in (None, recorded["analyzer"]):
        raise CorpusError(
            f"corpus {where} was made with analyzer={recorded['analyzer']!r}, not "
            f"{options.analyzer!r}; open it without analyzer=, or index the documents into a new "
            "folder"
        )
    if not _searchable(recorded["vectors"], options.vectors):
        raise CorpusError(
            f"corpus {where} was made with vectors={recorded['vectors']!r}, not "
            f"{options.vectors!r}; open it without vectors=, or change it: stepwell corpus rebuild "
            f"{shlex.quote(str(store.path))} --vectors {options.vectors}"
        )
    known = replace(options, analyzer=recorded["analyzer"])
    space = store.state().space
    if options.encoder is None or (not space and options.encoder == EMBEDDED):
        return known
    encoder = load_encoder(options.encoder)
    if not space:
        raise CorpusError(
            f"corpus {where} has no vectors; open it with encoder=None and give it some with "
            f"corpus.reencode(...)"
        )
    name, dimension = store.encoder_of(space)
    if (encoder.name, encoder.dimension) != (name, dimension):
        raise CorpusError(
            f"the vectors of corpus {where} are of encoder {name!r} ({dimension} dimensions), not "
            f"of {encoder.name!r} ({encoder.dimension}); open it with that encoder, or open it "
            "with encoder=None and change it with corpus.reencode(...)"
        )
    return replace(known, model=encoder)


def _searchable(recorded: str, asked: str | None) -> bool:
    """Whether vectors that are kept in one way can be searched in another."""
    automatic = crossover(recorded) is not None
    return asked in (None, recorded) or (automatic and asked in (AUTO, "exact"))


def _caught_up(store: Store, options: Options) -> list[str]:
    """Bring the indexes into step, unless another writer is at it, who will have done so."""
    repaired: list[str] = []
    if options.read_only:
        _check_readable(store)
        return repaired
    # A folder that someone is rebuilding cannot be read yet: then wait, otherwise do not.
    usable = (store.path / store.state().lexical / "meta.json").exists()
    try:
        with locked(store.path, timeout=0 if usable else options.lock_timeout):
            catch_up(store, placer_of(store, options), repaired)
    except DiskError as error:
        if not usable:
            raise
        _check_readable(store)
        # A folder that may not be written to is often meant so, and searched all the same.
        level = logging.WARNING if os.access(store.path, os.W_OK) else logging.INFO
        log.log(level, "corpus %s: its upkeep is put off: %s", store.path, error)
    except CorpusError:
        if not usable or not is_written(store.path):
            raise
    return repaired


def placer_of(store: Store, options: Options) -> Placer | None:
    """What makes the corpus' vectors, when it has some and the encoder is at hand."""
    space = store.state().space
    return Placer(store, options.model, space=space) if space and options.model else None


def _check_readable(store: Store) -> None:
    problem = damage(store.path / store.state().lexical)
    if problem:
        raise CorpusError(
            f"the term index of corpus {str(store.path)!r} cannot be used: {problem}; open the "
            "corpus once without read_only=True to rebuild it from the record"
        )
