"""New databases, made of what one run of the migrations left behind: running them takes longer than most tests."""

from __future__ import annotations

from typing import Any

import pytest

_Statements = list[tuple[str, tuple[Any, ...]]]


def make_new_ones_alike(patch: pytest.MonkeyPatch) -> None:
    """Let the migrations of a folder make a new SQLite database once in this process, and repeat its statements then.

    A database that has tables already, and one of another kind, is migrated as ever.
    """
    from alembic import command

    upgrade = command.upgrade
    made: dict[str, _Statements] = {}

    def repeated(config: Any, revision: str, **options: Any) -> None:
        connection = config.attributes["connection"]
        folder = str(config.get_main_option("script_location"))
        if connection.dialect.name != "sqlite" or revision != "head" or options or _statements(connection):
            upgrade(config, revision, **options)
        elif folder in made:
            for statement, values in made[folder]:
                connection.exec_driver_sql(statement, values)
        else:
            upgrade(config, revision)
            made[folder] = _statements(connection)

    patch.setattr(command, "upgrade", repeated)


def _statements(connection: Any) -> _Statements:
    """Return what makes a new SQLite database again: its tables, and the few rows that migrations put there."""
    found = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'table' DESC, rowid"
    )
    statements: _Statements = [(sql, ()) for (sql,) in found if not sql.startswith("CREATE TABLE sqlite_")]
    for (table,) in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for row in connection.exec_driver_sql(f"SELECT * FROM {table}"):  # names of our own tables
            statements.append((f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", tuple(row)))
    return statements
