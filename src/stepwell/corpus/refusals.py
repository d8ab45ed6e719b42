"""What SQLite, tantivy and the file system refuse, as one kind of error that says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell.errors import CorpusError, StepwellError


class DiskError(CorpusError):
    """The disk is full, or may not be written to; nothing is wrong with the corpus."""


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Around what writes files of a corpus.

    Raises:
        DiskError: The disk is full, or may not be written to.
    """
    try:
        yield
    except StepwellError:
        raise
    except (OSError, ValueError) as error:  # tantivy raises ValueError, whatever went wrong
        raise DiskError(
            f"corpus {str(folder)!r} cannot be written to ({error}); see to the space on its disk "
            "and the permissions of its folder: what was acknowledged before is kept"
        ) from error


def explained(error: sqlite3.DatabaseError, path: Path) -> CorpusError:
    """What SQLite says, with the remedy."""
    where = str(path.parent)
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return CorpusError(f"corpus {where!r} is locked by another process; try again ({error})")
    if isinstance(error, sqlite3.OperationalError):
        return DiskError(
            f"corpus {where!r} cannot be read or written ({error}); see to the permissions of its "
            "folder and the space on its disk, or open it with read_only=True"
        )
    return CorpusError(
        f"the record of corpus {where!r} is damaged ({error}); restore {path.name} from a backup, "
        "or index the documents again into a new folder"
    )
