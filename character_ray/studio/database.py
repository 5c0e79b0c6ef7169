"""SQLite or PostgreSQL behind one small seam: a connection per use, the same statements for both."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from character_ray.errors import StudioError

__all__ = ["Database", "Postgres", "Sqlite", "Transaction", "open_database"]

Transaction = Any
"""A DB-API connection; ``execute`` takes ``?`` for parameters."""

BUSY_S = 30.0


class Database(Protocol):
    """What the studio needs of a database."""

    serial: str
    """Type of a column that counts rows."""

    def transaction(self) -> Any:
        """A context with a :data:`Transaction`, kept when the block ends and undone when it fails."""


class Sqlite:
    """A file; several processes on one machine may share it."""

    serial = "INTEGER PRIMARY KEY AUTOINCREMENT"

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin, and keep what the block does unless it fails; writers wait for one another."""
        import sqlite3

        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            # Deferred transactions that read first and write later fail instead of waiting.
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as cause:
            raise StudioError(
                f"{self.path}: {cause}. If it is not a database of the studio, name another folder."
            ) from cause
        finally:
            connection.close()


class Postgres:
    """A server; studios on several machines may share it."""

    serial = "BIGSERIAL PRIMARY KEY"

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin, and keep what the block does unless it fails.

        Raises:
            StudioError: The driver is missing, or the server does not answer.
        """
        try:
            import psycopg
        except ImportError:
            raise StudioError(
                "votes in PostgreSQL need its driver. Install it (pip install 'psycopg[binary]'), or leave out --database."
            ) from None
        try:
            with psycopg.connect(self.url, connect_timeout=10) as connection:
                yield _Numbered(connection)
        except psycopg.Error as cause:
            # The URL may hold a password; the driver's message does not.
            raise StudioError(f"the database of the votes: {str(cause).strip()}") from cause


class _Numbered:
    """A connection of psycopg that takes ``?`` for a parameter."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        return self._connection.execute(statement.replace("?", "%s"), parameters)


def open_database(url: str, data: Path) -> Database:
    """The database a URL names, or the file ``arena.db`` in the studio's folder.

    Raises:
        StudioError: The URL is of another kind.
    """
    if not url:
        return Sqlite(data / "arena.db")
    if url.startswith(("postgresql://", "postgres://")):
        return Postgres(url)
    if url.startswith("sqlite:///"):
        return Sqlite(Path(url.removeprefix("sqlite:///")))
    scheme = url.partition(":")[0]
    raise StudioError(f"--database {scheme}: is not known. Give postgresql://USER@HOST/NAME or sqlite:///FILE.")
