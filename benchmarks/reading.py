"""Compares the speed of reading texts on one core with datatrove's readers and a polars scan.

The same documents are written as JSON lines, as JSON lines in one gzip member, and as Parquet with
row groups of 10,000 rows or with a single one. Their words have the frequencies of the starter
texts. Each measurement runs in its own process on one core:

- `ingest`: `toolformer ingest` into an empty home;
- `read`: our reader, without storing the records;
- `datatrove`: its `JsonlReader` or `ParquetReader` without a pipeline, in the version installed in
  the Python of `--datatrove`; skipped without that option;
- `polars`: the sum of the lengths of the text column with `polars.scan_*`.

A MB is a million bytes of text. Seconds exclude imports, except for `ingest`. Processor seconds and
peak memory cover the whole process; they are more reliable if other programs share the core.

    python -m benchmarks.reading [--megabytes 1000] [--work FOLDER] [--datatrove PYTHON]
        [--json FILE]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import IO, Any

_WORDS_OF_A_TEXT = (100, 1000)
_GROUP_ROWS = 10_000
_FILES = ("texts.jsonl", "texts.jsonl.gz", "texts.parquet", "one-group.parquet")
_ONE_THREAD = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")

# Runs in another Python, which does not have this module.
_DATATROVE = """
import sys, time
from pathlib import Path
from datatrove.pipeline.readers import JsonlReader, ParquetReader
path = Path(sys.argv[1])
reader = ParquetReader if path.suffix == ".parquet" else JsonlReader
documents = reader(str(path.parent), glob_pattern=path.name, file_progress=False).run()
began = time.perf_counter()
size = sum(len(document.text.encode()) for document in documents)
print(size, time.perf_counter() - began)
"""


# --- the files ----------------------------------------------------------------------------------


def _documents(megabytes: int) -> Iterator[dict[str, Any]]:
    import numpy as np

    from toolformer.sources.files import built_in_path

    (file,) = built_in_path("starter-texts").iterdir()
    texts = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    words = np.array(" ".join(texts).split(), dtype=object)
    rng = np.random.default_rng(0)
    written = number = 0
    while written < megabytes * 10**6:
        count = rng.integers(*_WORDS_OF_A_TEXT)
        text = " ".join(words[rng.integers(len(words), size=count)])
        yield {
            "text": text,
            "title": " ".join(text.split(maxsplit=5)[:5]),
            "url": f"https://example.org/articles/{number}",
            "date": (date(2015, 1, 1) + timedelta(days=number % 3000)).isoformat(),
        }
        written, number = written + len(text.encode()), number + 1


def _write(folder: Path, megabytes: int) -> int:
    """Write the files, and return the bytes of text in each."""
    import gzip

    import pyarrow
    from pyarrow import parquet

    lines, member, by_groups, one_group = (folder / name for name in _FILES)
    size, rows, tables = 0, list[dict[str, Any]](), list[pyarrow.Table]()
    with lines.open("w") as file:
        for row in _documents(megabytes):
            file.write(json.dumps(row) + "\n")
            size += len(row["text"].encode())
            rows.append(row)
            if len(rows) == _GROUP_ROWS:
                tables.append(pyarrow.Table.from_pylist(rows))
                rows.clear()
    tables += [pyarrow.Table.from_pylist(rows)] if rows else []
    table = pyarrow.concat_tables(tables)
    parquet.write_table(table, by_groups, row_group_size=_GROUP_ROWS)
    parquet.write_table(table, one_group, row_group_size=len(table))
    with lines.open("rb") as plain, gzip.open(member, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(plain, packed, 1 << 20)
    return size


# --- the readers --------------------------------------------------------------------------------


def _read(file: Path) -> tuple[int, float]:
    from toolformer.sources.files import list_files
    from toolformer.sources.readers import read_documents
    from toolformer.sources.records import ParsedDocument
    from toolformer.sources.source import Source

    source = Source(str(file), shard_size=1000)
    began = time.perf_counter()
    size = 0
    for parsed in read_documents(source, list_files(source)):
        if not isinstance(parsed, ParsedDocument):
            raise SystemExit(f"A record of {file} was rejected: {parsed}")
        size += len(parsed.text.encode())
    return size, time.perf_counter() - began


def _scan(file: Path) -> tuple[int, float]:
    import polars as pl

    scan: Callable[[Path], pl.LazyFrame] = (
        pl.scan_parquet if file.suffix == ".parquet" else pl.scan_ndjson
    )
    began = time.perf_counter()
    size = scan(file).select(pl.col("text").str.len_bytes().sum()).collect(engine="streaming")
    return size.item(), time.perf_counter() - began


_STEPS: dict[str, Callable[[Path], tuple[int, float]]] = {"read": _read, "polars": _scan}


# --- the measurements ---------------------------------------------------------------------------


def _run(command: list[str], output: IO[str], **environment: str) -> tuple[float, float, float]:
    """Run a command, and return seconds, processor seconds and peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=output, env={**os.environ, **environment})
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed with status {os.waitstatus_to_exitcode(status)}.")
    seconds = time.perf_counter() - began
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 10**6


def _measured(
    work: Path, name: str, size: int, reader: str, datatrove: Path | None
) -> dict[str, float]:
    file, home, output_file = work / name, work / "home", work / "output.txt"
    environment = {}
    shutil.rmtree(home, ignore_errors=True)
    if reader == "ingest":
        home.mkdir()
        environment = {"TOOLFORMER_HOME": str(home)}
        command = [sys.executable, "-m", "dagster_project.cli", "ingest", str(file)]
    elif reader == "datatrove":
        environment = {"LOGURU_LEVEL": "WARNING"}
        command = [str(datatrove), "-c", _DATATROVE, str(file)]
    else:
        command = [sys.executable, "-m", "benchmarks.reading", "--step", reader, str(file)]
    with output_file.open("w") as output:
        seconds, processor, peak = _run(command, output, **environment)
    if reader != "ingest":
        found, seconds = map(float, output_file.read_text().split())
        if found != size:
            raise SystemExit(f"{reader} found {found:.0f} bytes of text in {name}, not {size}.")
    shutil.rmtree(home, ignore_errors=True)
    cost = {"seconds": seconds, "processor_seconds": processor, "peak_mb": peak}
    return {each: round(cost[each], 1) for each in cost} | {
        "mb_per_second": round(size / 10**6 / seconds, 1)
    }


def _prepared(work: Path, megabytes: int) -> int:
    size_file = work / f"{megabytes}-megabytes.txt"
    if not size_file.exists():
        command = [sys.executable, "-m", "benchmarks.reading", "--megabytes", str(megabytes)]
        with (work / "bytes.part").open("w") as output:
            _run([*command, "--step", "write", str(work)], output)
        (work / "bytes.part").replace(size_file)
    return int(size_file.read_text())


def _measure(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    size = _prepared(work, options.megabytes)
    figures: dict[str, Any] = {"text_bytes": size, "files": {}}
    if options.datatrove is None:
        print("The readers of datatrove are skipped: pass --datatrove.", file=sys.stderr)
    for name in options.files:
        of_file = figures["files"][name] = {"bytes": (work / name).stat().st_size, "readers": {}}
        for reader in ("polars", "datatrove", "read", "ingest"):
            if reader == "datatrove" and options.datatrove is None:
                continue
            cost = _measured(work, name, size, reader, options.datatrove)
            of_file["readers"][reader] = cost
            print(f"{name} {reader} {json.dumps(cost)}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1000, help="megabytes of text per file")
    parser.add_argument("--files", nargs="+", choices=_FILES, default=_FILES)
    parser.add_argument("--work", type=Path, help="folder that keeps the files for later runs")
    parser.add_argument("--datatrove", type=Path, help="a Python that has datatrove[io]")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, path = options.step[0], Path(options.step[1])
        if step == "write":
            print(_write(path, options.megabytes))
        else:
            print(*_STEPS[step](path))
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ |= dict.fromkeys(_ONE_THREAD, "1")
    with tempfile.TemporaryDirectory(prefix="toolformer-reading-") as temporary:
        work = (options.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        figures = _measure(work, options)
    # This imports torch, whose memory would count for processes that start later.
    from benchmarks.machine import machine, versions

    figures |= {"machine": machine(), "versions": versions()}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
