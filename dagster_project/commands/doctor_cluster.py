"""Looks at what a home shares with other machines: its folders, its locks, its cluster.

Changes nothing: a lock is tried on a file that is removed again.
"""

from collections.abc import Iterator
from pathlib import Path

from dagster_project.cluster import (
    Place,
    differences,
    places_of_locks,
    read_record,
    why_not_excluding,
)
from dagster_project.commands.findings import Finding
from dagster_project.locks import LockError, shown


def examine_cluster(place: Place) -> Iterator[Finding]:
    """Look at both kinds of locks, and at what the machines agreed on, where there are several."""
    places = places_of_locks(place)
    for what, where in places.items():
        # One folder has both where nobody shares it.
        if what == next(reversed(places)) or where != place.root:
            yield _locks(what, where)
    recorded = read_record(place)
    if recorded is None:
        if place.is_shared:
            detail = "the next command that opens the home records what its machines agree on"
            yield Finding("cluster", "ok", detail)
        return
    told = recorded.id
    wrong = " ".join(differences(recorded, place))
    if wrong:
        yield Finding("cluster", "missing", wrong, "See `toolformer cluster show`")
    elif place.cache is None:
        detail = f"{told}; what belongs to this machine lies in the shared home"
        remedy = "Set TOOLFORMER_CACHE to a folder on a disk of this machine"
        yield Finding("cluster", "warning", detail, remedy)
    else:
        yield Finding("cluster", "ok", f"{told}; this machine fits")


def _locks(what: str, where: Path | str) -> Finding:
    name = what.lower()
    if isinstance(where, Path) and not where.is_dir():
        return Finding(name, "ok", f"files in {where}; tried at first use")
    try:
        why = why_not_excluding(what, where)
    except LockError as error:
        return Finding(name, "missing", str(error))
    if why is not None:
        return Finding(name, "missing", why)
    kind = "files in" if isinstance(where, Path) else "PostgreSQL at"
    return Finding(name, "ok", f"{kind} {shown(str(where))} exclude others")
