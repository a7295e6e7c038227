"""What the machines that share a home have to agree on: `cluster.json` in the home.

The first of them writes it; whoever opens the home later is compared with it, once a process, and
refused where it would lock elsewhere. What its rows mean, their fingerprints say.

A home of one machine has no such file, unless the environment names a cache, locks or a store.
"""

import functools
import json
import logging
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.copies import mirrored_files
from dagster_project.locks import FILES, LockError, file_lock, shown, why_locks_fail
from toolformer.errors import ToolformerError
from toolformer.ground.locking import Lock
from toolformer.ground.whole_files import write_whole

if TYPE_CHECKING:
    from warehouse.store.files import MirroredFiles

CLUSTER_FILE = "cluster.json"
OF_MACHINE, SHARED = "Locks of the machine", "Shared locks"
_LOGGER = logging.getLogger(__name__)
_turn = threading.Lock()


class ClusterError(ToolformerError):
    """A machine does not fit those that a home is shared with."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process finds a home; `dagster_project.home.Home` says what each is."""

    root: Path
    cache: Path | None
    locks: str
    store: str | None

    @property
    def is_shared(self) -> bool:
        """Whether the environment says that other machines use it too."""
        return self.cache is not None or self.locks != FILES or self.store is not None

    @property
    def file(self) -> Path:
        """The record."""
        return self.root / CLUSTER_FILE


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is recorded of a cluster.

    Attributes:
        id: of this cluster alone; part of the names of its locks.
        locks: where those of shared data are: `files`, or what tells a database from others.
        version: of the program that wrote this, for people.
    """

    id: str
    locks: Mapping[str, str]
    version: str


def joined(place: Place) -> Cluster | None:
    """The cluster that a home belongs to; None where it is a home of one machine.

    Looks once a process; the first machine of all writes the record.

    Raises:
        ClusterError: this machine does not fit, or the record cannot be read.
        LockError: locks do not exclude others, or cannot be reached.
    """
    # Two threads would ask twice, and one find the other's trial in its way.
    with _turn:
        return _joined(place)


@functools.cache
def _joined(place: Place) -> Cluster | None:
    if not place.is_shared and not place.file.exists():
        return None
    _check_locks(place)
    recorded = read_record(place)
    if recorded is None:
        with _joining(place):
            recorded = read_record(place) or _write(place, uuid.uuid4().hex)
    for why in differences(recorded, place):
        raise ClusterError(why)
    return recorded


def renew(place: Place) -> Cluster:
    """Record anew what this machine locks with and writes; the id stays.

    Raises:
        ClusterError: it is a home of one machine.
        LockError: see `joined`.
    """
    if not place.is_shared and not place.file.exists():
        raise ClusterError(
            f"The home {str(place.root)!r} belongs to one machine, so there is nothing to record. "
            "Expected TOOLFORMER_CACHE, TOOLFORMER_LOCKS or TOOLFORMER_STORE; set it first."
        )
    _check_locks(place)
    with _joining(place):
        try:
            before = read_record(place)
        except ClusterError:
            before = None
        return _write(place, before.id if before else uuid.uuid4().hex)


def read_record(place: Place) -> Cluster | None:
    """The record; None where there is none.

    Raises:
        ClusterError: it is damaged.
    """
    files = _files(place)
    if files is not None and not files.bring(place.file):
        # What lies here is of a time before the store.
        return None
    try:
        content = json.loads(place.file.read_bytes())
        return Cluster(**{each.name: content[each.name] for each in fields(Cluster)})
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise ClusterError(
            f"{str(place.file)!r} cannot be read: {error!r}. Expected what the first machine of "
            "the cluster wrote. Restore it from a copy, or run `toolformer cluster renew` while "
            "nothing else runs."
        ) from error


def places_of_locks(place: Place) -> dict[str, Path | str]:
    """Folder or database, by what is locked there."""
    of_machine = place.cache or place.root
    shared = place.root if place.locks == FILES else place.locks
    return {OF_MACHINE: of_machine, SHARED: shared}


def why_not_excluding(what: str, where: Path | str) -> str | None:
    """Try the locks of a place; what is wrong with them and what to do, None where nothing is.

    Args:
        what: is locked there, as `places_of_locks` names it.
        where: a folder that is there, or the address of a database.

    Raises:
        LockError: the database cannot be reached.
    """
    if isinstance(where, Path):
        why = why_locks_fail(where)
        remedy = (
            "Set TOOLFORMER_CACHE to a folder on a disk of this machine."
            if what == OF_MACHINE
            else "Set TOOLFORMER_LOCKS to a PostgreSQL database, "
            "postgresql://user@host:5432/database, on all machines."
        )
    else:
        from dagster_project.postgres_lock import why_postgres_locks_fail

        why = why_postgres_locks_fail(where)
        remedy = "Set TOOLFORMER_LOCKS to the address of the server itself."
    return why and f"{what} in {shown(str(where))!r} exclude nobody: {why}. {remedy}"


def _check_locks(place: Place) -> None:
    for what, where in places_of_locks(place).items():
        if isinstance(where, Path):
            where.mkdir(parents=True, exist_ok=True)
        why = why_not_excluding(what, where)
        if why is not None:
            raise LockError(why)


def differences(recorded: Cluster, place: Place) -> Iterator[str]:
    """Why a machine may not use the home of this cluster, and what to do."""
    file = str(place.file)
    here = _locks_of(place)
    if here != dict(recorded.locks):
        yield (
            f"This home belongs to a cluster whose locks are in {_told(recorded.locks)} ({file}), "
            f"and TOOLFORMER_LOCKS leads to {_told(here)} here: two machines would write the same "
            "at once. Set the variable as on the other machines. If all of them have moved, run "
            "`toolformer cluster renew` while nothing else runs."
        )


@contextmanager
def _joining(place: Place) -> Iterator[None]:
    """Of several machines one writes the record."""
    with shared_lock(place, "toolformer", "cluster"):  # before there is an id
        yield


def shared_lock(place: Place, scope: str, name: str) -> Lock:
    """A lock of shared data: a file of the home, or of a database, where the scope counts too."""
    if place.locks == FILES:
        return file_lock(place.root / "locks", name)
    from dagster_project.postgres_lock import PostgresLock

    return PostgresLock(place.locks, scope, name)


def _write(place: Place, identity: str) -> Cluster:
    recorded = Cluster(
        id=identity,
        locks=_locks_of(place),
        version=_version(),
    )
    write_whole(place.file, json.dumps(asdict(recorded), indent=2) + "\n")
    files = _files(place)
    if files is not None:
        files.publish(place.file)
    _LOGGER.info("%s records what the machines of this cluster agree on", place.file)
    return recorded


def _files(place: Place) -> "MirroredFiles | None":
    """The object store that has the record; None where it is a file of the home alone."""
    if place.store is None:
        return None
    return mirrored_files(place.root, place.cache or place.root, place.store)


def _locks_of(place: Place) -> dict[str, str]:
    if place.locks == FILES:
        return {"kind": FILES}
    from dagster_project.postgres_lock import identity_of

    return {"kind": "postgresql", **identity_of(place.locks)}


def _told(locks: Mapping[str, str]) -> str:
    if locks.get("kind") == FILES:
        return "files of the home"
    return f"the PostgreSQL database {locks.get('database')} of {locks.get('system_identifier')}"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("toolformer")
    except PackageNotFoundError:
        return "of a checkout"
