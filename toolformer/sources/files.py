"""Which files a source consists of, in which format, and how to open them."""

import importlib.util
import json
import os
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from toolformer.base.digests import digest_of_bytes, file_digest, hex_digest
from toolformer.base.names import did_you_mean
from toolformer.sources.addresses import is_local, located, open_file, source_errors
from toolformer.sources.compression import COMPRESSION_SUFFIXES, decompressed, split_compression
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.source import (
    BUILT_IN_SOURCES,
    SOURCE_FORMATS,
    STARTERS,
    Source,
    SourceFormat,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_FORMAT_OF_SUFFIX: dict[str, SourceFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
    ".warc": "warc",
    ".wet": "warc",
}
# Dumps in parts carry the range of page numbers behind the suffix: `….xml-p1p41242.bz2`.
_DUMP_NAME = re.compile(r"\.xml(-p\d+\w*(-\w+)?)?$")
# Of WikiExtractor: articles between `<doc …>` and `</doc>`, or in JSON lines.
_EXTRACTED_NAME = re.compile(r"wiki_\d+$")
# What `datasets` writes beside the Arrow files of a set.
_ABOUT_ARROW = ("state.json", "dataset_info.json")
# What the hub and `datasets` keep beside the records of a set.
_ABOUT_SET = re.compile(
    r"(readme|licen[cs]e|notice|citation|changelog)\b.*\.(md|txt)"
    r"|(state|dataset_infos?|dataset_dict|croissant|metadata)\.json",
    re.IGNORECASE,
)
_EXPECTED_NAMES = (
    ".jsonl, .ndjson, .json (one object per line), .parquet, .txt, .md, .warc, .wet, .xml for a "
    "Wikipedia dump, or wiki_00 and so on, as of WikiExtractor; all but .parquet also with "
    f"{', '.join(COMPRESSION_SUFFIXES)}"
)
_EXCERPT_PATTERN = "enwiki-latest-pages-articles1.xml-*-shortened.bz2"
_DIGESTED_BYTES = 1 << 16
# Of a file on this machine, above the largest dump of Wikipedia.
_LARGEST_WHOLE = 2**35
# The last is the hub's.
_ETAG_KEYS = ("ETag", "etag", "e_tag", "blob_id")
_VERSION_KEYS = ("mtime", "LastModified", "last_modified", "updated")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source; its name, as the user would write it, is part of every document id."""

    name: str
    path: str
    format: SourceFormat
    filesystem: "AbstractFileSystem"


def detect_format(name: str) -> SourceFormat | None:
    """Tells the format from a file name; None where it does not say."""
    base, compression = split_compression(posixpath.basename(name).lower())
    if _DUMP_NAME.search(base):
        return "wikipedia-dump"
    if _EXTRACTED_NAME.match(base):
        return "text"
    detected = _FORMAT_OF_SUFFIX.get(posixpath.splitext(base)[1])
    # Parquet compresses inside and is read from its end: a compressed one is not a Parquet file.
    return None if detected == "parquet" and compression else detected


def list_files(source: Source) -> list[SourceFile]:
    """Lists the files of a source, sorted by name.

    Hidden files are left out of a folder, and of a pattern that names none. So are, of a folder
    with the format `auto`, files whose name tells no format, and a data set's README and metadata.

    Raises:
        SourceNotFoundError: there is no such file, or nothing matches the pattern.
        SourceError: the format is unknown or mixed, the folder holds nothing to read, or the
            address is not supported or does not answer.
    """
    address = str(built_in_path(source.path)) if source.is_built_in else source.path
    filesystem, path, kind = located(address)
    is_folder = kind == "directory"
    with source_errors(source.path):
        if kind == "file":
            paths = [path]
        elif is_folder:
            paths = _files_below(filesystem, path)
        elif wildcard := re.search(r"[*?[]", path):
            paths = _files_among(filesystem, filesystem.glob(path, detail=True))
            folder = path[: wildcard.start()].rpartition("/")[0]
            if "/." not in path.removeprefix(folder):
                paths = _without_hidden(paths, folder)
        else:
            raise _not_found(source, filesystem, path)
    if not paths:
        if is_folder:
            raise SourceError(
                f"The folder {source.path!r} is empty. Expected files named {_EXPECTED_NAMES}. "
                "Put texts there or name another source."
            )
        raise SourceNotFoundError(
            f"No file matches the pattern {source.path!r}. Expected at least one. Check the "
            "pattern; `**` stands for folders at any depth."
        )
    _refuse_arrow(paths, is_folder)
    source_format, paths = _agreed_format(source, filesystem, sorted(map(str, paths)), is_folder)
    return sorted(
        (SourceFile(_name(source, filesystem, p), p, source_format, filesystem) for p in paths),
        key=lambda file: file.name,
    )


def files_left_out(source: Source) -> list[str]:
    """Return the files of a folder that `list_files` leaves out, but for hidden ones.

    Returns:
        Their paths within the folder, sorted; none for another kind of source.

    Raises:
        SourceError: see `list_files`.
    """
    if source.format != "auto" or source.is_built_in:
        return []
    filesystem, folder, kind = located(source.path)
    if kind != "directory":
        return []
    read = {file.path for file in list_files(source)}
    with source_errors(source.path):
        paths = [path for path in _files_below(filesystem, folder) if path not in read]
    return sorted(path.removeprefix(folder).lstrip("/") for path in paths)


def open_stored(file: SourceFile) -> IO[bytes]:
    """Opens a file for reading as it is stored, without decompression."""
    return open_file(file.filesystem, file.path)


def file_identity(file: SourceFile) -> str:
    """A digest of the file's name and bytes.

    Of a file elsewhere the ETag of its store stands for the bytes; without one size, time of
    change, and first and last bytes do, as for a file here that would take minutes to read.

    Raises:
        SourceError: the file cannot be read.
    """
    with source_errors(file.name):
        size, version, etag = _facts(file)
        if is_local(file.filesystem):
            if size <= _LARGEST_WHOLE:
                return hex_digest(file.name, file.format, file_digest(Path(file.path)))
            version = str(Path(file.path).stat().st_ctime_ns)
        content = json.dumps([file.name, file.format, size, etag or version]).encode()
        if not etag:
            with open_stored(file) as stream:
                content += stream.read(_DIGESTED_BYTES)
                if size > _DIGESTED_BYTES:
                    stream.seek(max(_DIGESTED_BYTES, size - _DIGESTED_BYTES))
                    content += stream.read(_DIGESTED_BYTES)
    return digest_of_bytes(content).hex()


def built_in_path(name: str) -> Path:
    """Where a built-in source lies on disk."""
    if name in STARTERS:
        return Path(__file__).parents[1] / name.replace("-", "_")
    specification = importlib.util.find_spec("gensim")
    folders = specification.submodule_search_locations if specification else None
    for folder in folders or ():
        for path in sorted((Path(folder) / "test" / "test_data").glob(_EXCERPT_PATTERN)):
            return path
    raise SourceNotFoundError(
        f"The built-in source {name!r} is not installed: it is part of the gensim package, which "
        "is missing or incomplete. Install the project's requirements again (gensim>=4.3)."
    )


def _files_below(filesystem: "AbstractFileSystem", folder: str) -> list[str]:
    return _without_hidden(_files_among(filesystem, filesystem.find(folder, detail=True)), folder)


def _without_hidden(paths: list[str], folder: str) -> list[str]:
    return [path for path in paths if "/." not in f"/{path.removeprefix(folder)}"]


def _files_among(filesystem: "AbstractFileSystem", listing: Any) -> list[str]:
    """The paths of files: no folders, sockets or pipes."""
    if is_local(filesystem):
        return [path for path in map(str, listing) if filesystem.isfile(path)]
    # Not asked one by one: each question is a request.
    return [str(path) for path, facts in listing.items() if facts["type"] == "file"]


def _refuse_arrow(paths: list[str], is_folder: bool) -> None:
    for path in paths:
        folder, name = posixpath.split(path)
        about = (posixpath.join(folder, each) for each in _ABOUT_ARROW)
        if name.endswith(".arrow") and (not is_folder or any(each in paths for each in about)):
            raise SourceError(
                f"{path!r} is an Arrow file, as save_to_disk of datasets writes it. Expected "
                "Parquet or JSON lines. Write the set as such and name that file (in Python: "
                f"datasets.load_from_disk({folder!r}).to_parquet(FILE))."
            )


def _agreed_format(
    source: Source, filesystem: "AbstractFileSystem", paths: list[str], is_folder: bool
) -> tuple[SourceFormat, list[str]]:
    """The one format of all files, and the files that have it."""
    if source.format != "auto":
        return source.format, paths
    formats: dict[str, SourceFormat] = {}
    extracted: SourceFormat | None = None
    for path in paths:
        known = detect_format(path)
        if _EXTRACTED_NAME.match(split_compression(posixpath.basename(path))[0]):
            extracted = known = extracted or _extracted_format(filesystem, path)
        if known is not None:
            formats[path] = known
        elif not is_folder:
            raise SourceError(
                f"The format of {path!r} cannot be told from its name. Expected {_EXPECTED_NAMES}. "
                f"Rename the file or give its format: one of {', '.join(SOURCE_FORMATS)}."
            )
    if is_folder:
        formats = _without_metadata(formats)
    distinct = sorted(set(formats.values()))
    if not distinct:
        raise SourceError(
            f"The folder {source.path!r} holds no file of a known format. Expected files named "
            f"{_EXPECTED_NAMES}. To read every file in it as a text, give the format text."
        )
    if len(distinct) > 1:
        raise SourceError(
            f"The source {source.path!r} mixes formats: {', '.join(distinct)}. Expected files of "
            "one format. Name each kind by a source of its own, with a pattern such as '*.jsonl'."
        )
    return distinct[0], list(formats)


def _without_metadata(formats: dict[str, SourceFormat]) -> dict[str, SourceFormat]:
    """Leave out metadata in JSON, and a README unless the folder's other files are texts too.

    Beside Parquet files every text and every `.json` file is about the set.
    """
    has_parquet = "parquet" in formats.values()
    about = {
        path
        for path in formats
        if _ABOUT_SET.fullmatch(posixpath.basename(path))
        or (has_parquet and (formats[path] == "text" or path.endswith(".json")))
    }
    has_texts_alone = {formats[path] for path in formats.keys() - about} <= {"text"}
    return {
        path: known
        for path, known in formats.items()
        if path not in about or (known == "text" and has_texts_alone)
    }


def _extracted_format(filesystem: "AbstractFileSystem", path: str) -> SourceFormat:
    with source_errors(path), open_file(filesystem, path) as stored:
        return "jsonl" if decompressed(stored, path).read(1) == b"{" else "text"


def _name(source: Source, filesystem: "AbstractFileSystem", path: str) -> str:
    if source.is_built_in:
        is_single = source.path not in STARTERS
        return source.path if is_single else f"{source.path}/{posixpath.basename(path)}"
    if not is_local(filesystem):
        return str(filesystem.unstrip_protocol(path))
    if source.name.startswith(("/", "~")):
        name = Path(path).as_posix()
    else:
        name = Path(os.path.relpath(path)).as_posix()
    # A file name need not be text; what is stored with the documents must.
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _facts(file: SourceFile) -> tuple[int, str, str]:
    """The size, the time of the last change and the ETag of a file, as far as they are known."""
    facts = file.filesystem.info(file.path)
    version, etag = (
        str(next((facts[key] for key in keys if facts.get(key)), ""))
        for keys in (_VERSION_KEYS, _ETAG_KEYS)
    )
    return int(facts.get("size") or 0), version, etag


def _not_found(source: Source, filesystem: "AbstractFileSystem", path: str) -> SourceNotFoundError:
    folder, _, wanted = path.rstrip("/").rpartition("/")
    neighbours: Iterable[str] = ()
    where = ""
    if source.path.startswith("hf://"):
        # The hub tells nobody of what is hidden from them.
        where = " If it is private or gated, set HF_TOKEN, or run `hf auth login`."
    elif not is_local(filesystem):
        pass  # a listing can be long
    elif filesystem.isdir(folder or "/"):
        neighbours = (
            posixpath.basename(str(entry).rstrip("/"))
            for entry in filesystem.ls(folder or "/", detail=False)
        )
    else:
        where = f" There is no folder {folder!r} either."
    hint = did_you_mean(wanted, [*neighbours, *BUILT_IN_SOURCES])
    return SourceNotFoundError(
        f"There is no source {source.path!r}.{where}{hint} Expected a file, a folder, a glob "
        f"pattern or one of {', '.join(BUILT_IN_SOURCES)}. Check the path."
    )
