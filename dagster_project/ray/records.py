"""Dagster's records in PostgreSQL: what it looks like when they cannot be read for a while."""


def unreadable() -> tuple[type[Exception], ...]:
    """The errors of a database that does not answer; it may again in a minute."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        from dagster_postgres.utils import (  # pyright: ignore[reportMissingImports]
            DagsterPostgresException,
        )
    except ModuleNotFoundError:
        return SQLAlchemyError, OSError
    return SQLAlchemyError, OSError, DagsterPostgresException
