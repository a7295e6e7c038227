"""Lists the files of a source, detects their format, and opens them."""

import importlib.util
import json
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from toolformer.base.digests import digest_of_bytes, file_digest, hex_digest
from toolformer.base.names import did_you_mean
from toolformer.settings.corpus_sections import (
    BUILT_IN_SOURCES,
    SOURCE_FORMATS,
    STARTERS,
    WIKIPEDIA_EXCERPT,
    SourceFormat,
)
from toolformer.sources.addresses import is_local, located, source_errors
from toolformer.sources.compression import COMPRESSION_SUFFIXES, split_compression
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.source import Source

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

FileFormat = SourceFormat | Literal["wikipedia-excerpt"]

_FORMAT_OF_SUFFIX: dict[str, SourceFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".md": "text",
}
# Output files of WikiExtractor --json.
_EXTRACTED_NAME = re.compile(r"wiki_\d+$")
# Formats that are not supported, by file name, and what to do instead.
_UNSUPPORTED = (
    (
        re.compile(r"\.xml(-p\d+\w*(-\w+)?)?$"),
        "XML, such as a Wikipedia dump, is not supported. Use Wikipedia in Parquet "
        "(hf://datasets/wikimedia/wikipedia/20231101.en/*.parquet), or convert other texts to JSON "
        "lines",
    ),
    (
        re.compile(r"\.(warc|wet|wat|arc)$"),
        "Web archives are not supported. Extract their texts to JSON lines, for example with "
        "trafilatura or datatrove",
    ),
    (re.compile(r"\.(zip|tar|tgz|7z|rar)$"), "Archives are not supported. Unpack the files"),
)
# Names of files that describe a data set and contain none of its texts.
_ABOUT_SET = re.compile(
    r"(readme|licen[cs]e|notice|citation|changelog)\b.*\.(md|txt)"
    r"|(state|dataset_infos?|dataset_dict|croissant|metadata)\.json",
    re.IGNORECASE,
)
_EXPECTED_NAMES = (
    ".jsonl, .ndjson, .json (one object per line), .csv, .tsv, .txt or .md, with or without "
    f"{', '.join(COMPRESSION_SUFFIXES)}, or .parquet or .arrow"
)
_EXCERPT_PATTERN = "enwiki-latest-pages-articles1.xml-*-shortened.bz2"
_DIGESTED_BYTES = 1 << 16
# Keys under which file systems report an ETag; the Hugging Face Hub calls it `blob_id`.
_ETAG_KEYS = ("ETag", "etag", "e_tag", "blob_id")
_VERSION_KEYS = ("mtime", "LastModified", "last_modified", "updated")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source; its name, as a user would write it, is part of document ids."""

    name: str
    path: str
    format: FileFormat
    filesystem: "AbstractFileSystem"

    def open(self) -> IO[bytes]:
        """Open the file as stored, without decompression."""
        return cast("IO[bytes]", self.filesystem.open(self.path, "rb"))

    def state(self) -> tuple[int, str, str]:
        """Return size in bytes, time of the last change and ETag; 0 or empty if unknown."""
        facts = self.filesystem.info(self.path)
        version, etag = (
            str(next((facts[key] for key in keys if facts.get(key)), ""))
            for keys in (_VERSION_KEYS, _ETAG_KEYS)
        )
        return int(facts.get("size") or 0), version, etag


def detect_format(name: str) -> SourceFormat | None:
    """Return the format that the file name indicates, or None if it indicates none."""
    base, compression = split_compression(posixpath.basename(name).lower())
    if _EXTRACTED_NAME.match(base):
        return "jsonl"
    detected = _FORMAT_OF_SUFFIX.get(posixpath.splitext(base)[1])
    # Parquet and Arrow compress internally, and reading Parquet starts at the end of the file.
    return None if detected in ("parquet", "arrow") and compression else detected


def list_files(source: Source) -> list[SourceFile]:
    """List the files of a source, sorted by name.

    Skips hidden files, unless a pattern names them. With the format `auto`, also skips READMEs,
    metadata and files of unknown formats in a folder.

    Raises:
        SourceNotFoundError: the file does not exist, or nothing matches the pattern.
        SourceError: the format is unknown, mixed or unsupported, the folder has no readable file,
            or the address is unsupported or does not answer.
    """
    if source.path == WIKIPEDIA_EXCERPT:
        filesystem, path, _ = located(str(built_in_path(source.path)))
        return [SourceFile(WIKIPEDIA_EXCERPT, path, WIKIPEDIA_EXCERPT, filesystem)]
    address = str(built_in_path(source.path) / "*.jsonl") if source.is_built_in else source.path
    filesystem, path, kind = located(address)
    with source_errors(source.path):
        if kind == "file":
            paths = [path]
        elif kind == "directory":
            paths = _files_below(filesystem, path)
        elif wildcard := re.search(r"[*?[]", path):
            paths = _files_among(filesystem, filesystem.glob(path, detail=True))
            folder = path[: wildcard.start()].rpartition("/")[0]
            if "/." not in path.removeprefix(folder):
                paths = _without_hidden(paths, folder)
        else:
            raise _not_found(source, filesystem, path)
        paths = _without_caches(filesystem, sorted(paths))
    if not paths:
        raise SourceNotFoundError(
            f"The source {source.path!r} has no files, or no file matches the pattern. Expected "
            f"files named {_EXPECTED_NAMES}. Check the path. In a pattern, `**` matches folders at "
            "any depth."
        )
    source_format, paths = _agreed_format(source, paths, kind == "directory")
    return sorted(
        (SourceFile(_name(source, filesystem, p), p, source_format, filesystem) for p in paths),
        key=lambda file: file.name,
    )


def skipped_files(source: Source) -> list[str]:
    """Return the relative paths, sorted, of files in a folder that `list_files` skips.

    Hidden files are not included. Other kinds of sources give an empty list.
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


def file_identity(file: SourceFile) -> str:
    """Return a digest of the file's name and bytes; raise a SourceError if it cannot be read.

    The digest of a remote file covers its ETag instead of its bytes. If the store has no ETag, it
    covers the size, the time of the last change, and the first and last 64 KiB.
    """
    with source_errors(file.name):
        if is_local(file.filesystem):
            return hex_digest(file.name, file.format, file_digest(Path(file.path)))
        size, version, etag = file.state()
        content = json.dumps([file.name, file.format, size, etag or version]).encode()
        if not etag:
            with file.open() as stream:
                content += stream.read(_DIGESTED_BYTES)
                stream.seek(max(0, size - _DIGESTED_BYTES))
                content += stream.read(_DIGESTED_BYTES)
    return digest_of_bytes(content).hex()


def built_in_path(name: str) -> Path:
    """Return the path of a built-in source on disk."""
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
    """Return the paths of regular files and of links to them, but no folders, sockets or pipes."""
    return [
        str(path)
        for path, facts in listing.items()
        if facts["type"] == "file" or (facts.get("islink") and filesystem.isfile(path))
    ]


def _without_caches(filesystem: "AbstractFileSystem", paths: list[str]) -> list[str]:
    """Drop the cache files of `datasets`: Arrow files not named in the folder's `state.json`."""
    for state in [path for path in paths if posixpath.basename(path) == "state.json"]:
        folder = posixpath.dirname(state)
        in_folder = {path for path in paths if posixpath.dirname(path) == folder}
        if not any(path.endswith(".arrow") for path in in_folder):
            continue
        if f"{posixpath.dirname(folder)}/dataset_dict.json" in paths:
            raise SourceError(
                f"The folder {posixpath.dirname(folder)!r} contains several splits of a data set. "
                f"Expected one. Name the folder of a split, such as {folder!r}."
            )
        with filesystem.open(state) as stream:
            names = [file["filename"] for file in json.load(stream)["_data_files"]]
        data_files = {f"{folder}/{name}" for name in names}
        if missing := data_files - in_folder:
            raise SourceError(
                f"The data set {folder!r} lacks {min(missing)!r}, which its state.json names. "
                "Expected all of its files. Copy or save it again."
            )
        caches = {path for path in in_folder if path.endswith(".arrow")} - data_files
        paths = [path for path in paths if path not in caches]
    return paths


def _agreed_format(
    source: Source, paths: list[str], is_folder: bool
) -> tuple[SourceFormat, list[str]]:
    """Return the format that all files share, and the files that are read in this format."""
    if source.format != "auto":
        return source.format, paths
    formats: dict[str, SourceFormat] = {
        path: known for path in paths if (known := detect_format(path))
    }
    unknown = next((path for path in paths if path not in formats), None)
    has_records = any(not _ABOUT_SET.fullmatch(posixpath.basename(path)) for path in formats)
    if unknown and not (is_folder and has_records):
        base = split_compression(posixpath.basename(unknown).lower())[0]
        for name, why in _UNSUPPORTED:
            if name.search(base):
                raise SourceError(f"The source {unknown!r} cannot be used. {why}.")
    if is_folder:
        formats = _without_metadata(formats)
    elif unknown:
        raise SourceError(
            f"The name of {unknown!r} does not show its format. Expected {_EXPECTED_NAMES}. "
            f"Rename the file, or set the format to one of {', '.join(SOURCE_FORMATS)}."
        )
    distinct = sorted(set(formats.values()))
    if not distinct:
        raise SourceError(
            f"The folder {source.path!r} has no file of a known format. Expected files named "
            f"{_EXPECTED_NAMES}. To read every file in it as a text, set the format to text."
        )
    if len(distinct) > 1:
        raise SourceError(
            f"The source {source.path!r} mixes formats: {', '.join(distinct)}. Expected files of "
            "one format. Add a source per format, with patterns such as '*.jsonl'."
        )
    return distinct[0], list(formats)


def _without_metadata(formats: dict[str, SourceFormat]) -> dict[str, SourceFormat]:
    """Drop JSON metadata, and READMEs unless all other files in the folder are texts.

    In a folder with Parquet or Arrow files, all texts and `.json` files count as metadata.
    """
    has_tables = not {"parquet", "arrow"}.isdisjoint(formats.values())
    about = {
        path
        for path in formats
        if _ABOUT_SET.fullmatch(posixpath.basename(path))
        or (has_tables and (formats[path] == "text" or path.endswith(".json")))
    }
    has_only_texts = {formats[path] for path in formats.keys() - about} <= {"text"}
    return {
        path: known
        for path, known in formats.items()
        if path not in about or (known == "text" and has_only_texts)
    }


def _name(source: Source, filesystem: "AbstractFileSystem", path: str) -> str:
    if source.is_built_in:
        return f"{source.path}/{posixpath.basename(path)}"
    if not is_local(filesystem):
        return str(filesystem.unstrip_protocol(path))
    if source.name.startswith(("/", "~")):
        name = Path(path).as_posix()
    else:
        name = Path(os.path.relpath(path)).as_posix()
    # File names need not be UTF-8, but names stored with documents must be.
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _not_found(source: Source, filesystem: "AbstractFileSystem", path: str) -> SourceNotFoundError:
    folder, _, wanted = path.rstrip("/").rpartition("/")
    neighbours, where = list[str](), ""
    if source.path.startswith("hf://"):
        # The Hub does not reveal whether a private repository exists.
        where = " If it is private or gated, set HF_TOKEN, or run `hf auth login`."
    elif is_local(filesystem) and filesystem.isdir(folder or "/"):
        neighbours = [entry.name for entry in Path(folder or "/").iterdir()]
    elif is_local(filesystem):
        where = f" There is no folder {folder!r} either."
    hint = did_you_mean(wanted, [*neighbours, *BUILT_IN_SOURCES])
    return SourceNotFoundError(
        f"There is no source {source.path!r}.{where}{hint} Expected a file, a folder, a glob "
        f"pattern or one of {', '.join(BUILT_IN_SOURCES)}. Check the path."
    )
