"""Makes a lost manifest anew from the raw slices.

Sources are not remembered: at the next update each is cut, and its records find their shards by
digest. Does not read sources.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from toolformer.ground.whole_files import beside
from toolformer.sources.compression import ZstandardReader
from toolformer.sources.errors import DamagedRawSliceError, SourceError
from toolformer.sources.ingestion import locked
from toolformer.sources.manifest import (
    Manifest,
    ShardEntry,
    check_complete,
    is_held_out,
    manifest_path,
    shard_number,
    slice_path,
    stored_slices,
)
from toolformer.sources.slices import SLICE_VERSION


@dataclass(frozen=True, slots=True)
class RebuiltManifest:
    """What a manifest was made from.

    Attributes:
        active: shards whose slices lie among those in use.
        retired: the others.
        damaged: slices that cannot be read, with the reason; their shards are left out, and their
            files stay where they are.
    """

    active: list[ShardEntry]
    retired: list[ShardEntry]
    damaged: dict[Path, str]


def rebuild_manifest(
    folder: Path,
    *,
    held_out_every: int,
    used_keys: Iterable[str] = (),
) -> RebuiltManifest:
    """Writes a manifest of the raw slices that are there; an unusable one is kept beside it.

    Args:
        folder: `$TOOLFORMER_HOME/sources`.
        held_out_every: see `update_manifest`; the number of a shard tells whether it is held out.
        used_keys: keys that are in use elsewhere, and so are not given to new shards.

    Raises:
        SourceError: there is a manifest that fits the slices, or there are no slices.
        SliceWriteError: it cannot be written.
    """
    with locked(folder):
        path = manifest_path(folder)
        known = _known_entries(folder)
        slices = {file: file.name.split(".")[0] for file in stored_slices(folder)}
        if not slices:
            raise SourceError(
                f"There are no raw slices in {str(folder)!r} to make a manifest from. Ingest your "
                "sources again."
            )
        entries: dict[str, ShardEntry] = {}
        damaged: dict[Path, str] = {}
        for file, key in slices.items():
            try:
                entry = _entry_of(file, key, held_out_every)
            except (EOFError, OSError, ValueError, LookupError, TypeError) as error:
                damaged[file] = str(error)
                continue
            if key in known and known[key].digest == entry.digest:
                entry = replace(known[key], status=entry.status)
            if key not in entries or entry.status == "active":
                entries[key] = entry
        manifest = Manifest(
            next_number=1 + max(map(shard_number, [*slices.values(), *used_keys])),
            shards=_each_digest_active_once(entries),
        )
        if path.exists():
            path.replace(beside(path).with_suffix(".old"))
        manifest.save(folder)
    retired = [entry for entry in manifest.shards if entry.status == "retired"]
    return RebuiltManifest(manifest.active_shards, retired, damaged)


def _known_entries(folder: Path) -> dict[str, ShardEntry]:
    """What an older manifest says of its shards."""
    if not manifest_path(folder).exists():
        return {}
    try:
        manifest = Manifest.load(folder)
    except DamagedRawSliceError:
        return {}
    try:
        check_complete(folder, manifest)
    except DamagedRawSliceError:
        return {entry.key: entry for entry in manifest.shards}
    raise SourceError(
        f"The manifest {str(manifest_path(folder))!r} fits the raw slices beside it, so there is "
        "nothing to rebuild."
    )


def _entry_of(file: Path, key: str, held_out_every: int) -> ShardEntry:
    digest = hashlib.blake2b(digest_size=16)
    lines, first = 0, {}
    with file.open("rb") as stored, io.BufferedReader(ZstandardReader(stored)) as content:
        for line in content:
            digest.update(line)
            if lines == 0 and json.loads(line)["version"] != SLICE_VERSION:
                raise ValueError(f"expected a raw slice of version {SLICE_VERSION}")
            if lines == 1:
                first = json.loads(line)
            lines += 1
    if lines < 2:
        raise ValueError("it holds no record")
    is_active = file == slice_path(file.parents[1], key)
    return ShardEntry(
        key=key,
        # Of a folder or a pattern it is a file; the next update gives the shard to its source.
        source=first["source"],
        first_record=first["offset"],
        records=lines - 1,
        digest=digest.hexdigest(),
        is_held_out=is_held_out(shard_number(key), every=held_out_every),
        status="active" if is_active else "retired",
    )


def _each_digest_active_once(entries: dict[str, ShardEntry]) -> list[ShardEntry]:
    """Of active shards with the same records, which a kill can leave, the last one counts."""
    last = {entry.digest: key for key, entry in entries.items() if entry.status == "active"}
    return [
        entry if last.get(entry.digest, key) == key else replace(entry, status="retired")
        for key, entry in entries.items()
    ]
