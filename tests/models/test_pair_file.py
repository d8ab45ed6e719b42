from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from stepwell.errors import ConfigurationError
from stepwell.models.pair_file import PairFile


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_scores_outlive_the_process(tmp_path: Path) -> None:
    """What one opening writes the next one reads, cut marks included."""
    first = PairFile(tmp_path / "deep" / "pairs.db", limit=10)
    first.write({key(1): (0.25, False, 1), key(2): (-3.5, True, 1)})
    first.close()
    second = PairFile(tmp_path / "deep" / "pairs.db", limit=10)
    assert second.read([key(2), key(1), key(3)]) == {
        key(1): (0.25, False, 1),
        key(2): (-3.5, True, 1),
    }
    second.close()


def test_the_oldest_go_first(tmp_path: Path) -> None:
    """The file never holds more than its limit after a write, and keeps the latest."""
    file = PairFile(tmp_path / "pairs.db", limit=100)
    for number in range(1000):
        file.write({key(number): (float(number), False, 1)})
        held = file.read([key(each) for each in range(number + 1)])
        assert len(held) <= 100
        assert key(number) in held
    assert min(held.values())[0] >= 900
    file.close()


def test_thousands_are_read_at_a_time(tmp_path: Path) -> None:
    """More keys than one statement may ask for are all answered."""
    file = PairFile(tmp_path / "pairs.db", limit=5000)
    file.write({key(number): (float(number), False, 1) for number in range(3000)})
    assert len(file.read([key(number) for number in range(3000)])) == 3000
    file.close()


def test_a_damaged_file_is_forgotten_with_a_warning(tmp_path: Path) -> None:
    """A file that is no database is made anew, because scores can be computed again."""
    path = tmp_path / "pairs.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.warns(UserWarning, match="damaged"):
        file = PairFile(path, limit=10)
    file.write({key(1): (1.0, False, 1)})
    assert file.read([key(1)]) == {key(1): (1.0, False, 1)}
    file.close()


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A file with other tables is refused and not touched."""
    path = tmp_path / "theirs.db"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE money (amount)")
    theirs.commit()
    theirs.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="no file of pair scores"):
        PairFile(path, limit=10)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    """A path below a file is an error that names it."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file.pairs\.db"):
        PairFile(tmp_path / "file" / "pairs.db", limit=10)


def test_a_locked_file_costs_a_warning_and_no_answer(tmp_path: Path) -> None:
    """While another process holds the file, scores are not kept, and nothing fails."""
    file = PairFile(tmp_path / "pairs.db", limit=10)
    file._connection.execute("PRAGMA busy_timeout=20")
    other = sqlite3.connect(tmp_path / "pairs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.warns(UserWarning, match="not kept"):
        file.write({key(1): (1.0, False, 1)})
    assert file.read([key(1)]) == {}
    other.execute("ROLLBACK")
    other.close()
    file.close()


def test_threads_share_it(tmp_path: Path) -> None:
    """Eight threads write and read at once, and all of it is there."""
    file = PairFile(tmp_path / "pairs.db", limit=10_000)

    def work(start: int) -> None:
        for number in range(start, start + 50):
            file.write({key(number): (float(number), False, 1)})
            assert file.read([key(number)])

    threads = [threading.Thread(target=work, args=(1000 * each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.read([key(1000 * a + b) for a in range(8) for b in range(50)])) == 400
    file.close()


def test_a_file_of_before_windows_begins_anew(tmp_path: Path) -> None:
    """A file of the first format, which kept no windows, is emptied and used."""
    old = sqlite3.connect(tmp_path / "pairs.db")
    old.execute("CREATE TABLE pairs (at INTEGER PRIMARY KEY, key BLOB UNIQUE, score, cut)")
    old.execute("PRAGMA user_version=1")
    old.commit()
    old.close()
    file = PairFile(tmp_path / "pairs.db", limit=10)
    file.write({key(1): (1.0, True, 4)})
    assert file.read([key(1)]) == {key(1): (1.0, True, 4)}
    file.close()
