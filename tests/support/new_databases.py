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
    """Return what makes an SQLite database without rows, but for that with its schema, again."""
    found = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'table' DESC, rowid"
    )
    statements: _Statements = [(sql, ()) for (sql,) in found if not sql.startswith("CREATE TABLE sqlite_")]
    if statements:
        for row in connection.exec_driver_sql("SELECT version_num FROM alembic_version"):
            statements.append(("INSERT INTO alembic_version VALUES (?)", tuple(row)))
    return statements
