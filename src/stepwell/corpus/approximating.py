"""When an index of neighbours is made, extended, made anew and taken into use.

It is made beside the corpus, from vectors that are acknowledged and so never change; only to name
it in the record takes a turn as a writer. Until then, and whenever it cannot be used, the vectors
are searched exactly.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from secrets import token_hex

from stepwell.corpus.index_record import RETRAIN, Indexed, outgrown
from stepwell.corpus.kinds import crossover
from stepwell.corpus.neighbours import PROMISED, Neighbours, installed
from stepwell.corpus.store import Store
from stepwell.errors import CorpusError

log = logging.getLogger("stepwell")

FILES = "neighbours-*"


def wanted(kind: str, slots: int) -> bool:
    """Whether so many vectors should have an index, and can."""
    above = crossover(kind)
    return above is not None and slots > above and installed()


def overdue(store: Store) -> bool:
    """Whether an index is lacking, or leaves too much to be searched exactly beside it."""
    state = store.state()
    slots = store.slots(state.space) if state.space else 0
    if not wanted(state.vectors, slots):
        return False
    tried = Indexed.tried(state.neighbours)
    if state.neighbours and state.neighbours == store.spoilt:
        return True
    if tried is None or not tried.file:
        return tried is None or outgrown(tried, slots)
    return is_missing(store) or slots - tried.slots > beside(state.vectors)


def is_missing(store: Store) -> bool:
    """Whether the record names an index whose file is gone."""
    indexed = Indexed.parse(store.state().neighbours)
    return indexed is not None and not (store.path / indexed.file).exists()


def beside(kind: str) -> int:
    """How many vectors may be searched exactly beside an index."""
    return (crossover(kind) or 0) // 4


def made(store: Store, space: int, kind: str, *, before: Indexed | None = None) -> Indexed | None:
    """An index of a space's vectors, in a file that nobody uses yet; None where none is wanted.

    One that finds less than is promised is not kept: it has no file.

    Args:
        store: The corpus.
        space: The number of the vectors' encoder.
        kind: How they are to be searched.
        before: What may be extended, unless the corpus has outgrown it.
    """
    slots = store.slots(space)
    if not wanted(kind, slots):
        return None
    matrix = store.file(space).view(slots)
    trained, recall, index = slots, 0.0, None
    if before is not None and before.space == space and not outgrown(before, slots):
        with suppress(CorpusError, OSError):  # damaged: then it is made anew
            index = Neighbours.open(store.path, before, to_extend=True)
            trained = before.trained
            recall = index.extend(matrix, trained=trained)
    if index is None or recall < PROMISED:
        trained, index = slots, Neighbours.learnt(matrix)
        recall = index.extend(matrix, trained=trained)
    file, crc = "", 0
    if recall >= PROMISED:
        file = f"neighbours-{space}-{token_hex(6)}"
        crc = index.save(store.path, file)
        log.info("corpus %s: %d vectors are in a new index of neighbours", store.path, slots)
    else:
        log.warning(
            "corpus %s: vectors are searched exactly, an index of neighbours finds only %.3f of "
            "what is near; that is tried again when there are %d times as many",
            store.path,
            recall,
            RETRAIN,
        )
    return Indexed(file, space, slots, trained, index.probes, index.wider, recall, crc)


def drop_leftovers(store: Store) -> None:
    """Delete the files of indexes that the record does not name; the lock is held."""
    named = Indexed.parse(store.state().neighbours)
    for file in store.path.glob(FILES):
        if named is None or file.name != named.file:
            with suppress(OSError):  # Windows keeps what somebody still looks at
                file.unlink(missing_ok=True)
