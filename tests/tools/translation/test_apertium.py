"""Apertium: the real program where it is installed, and a script in its place that misbehaves."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest

from tools.errors import ToolTimeoutError, ToolUnavailableError, TranslationFailedError
from tools.machine_translation import MachineTranslation
from tools.protocol import Document
from tools.translation.apertium import ApertiumTranslator, run_program

DOCUMENT = Document("d", "")
MODES = ("spa-eng", "eng-spa", "eu-en", "hbs-eng", "spa-eng-tagger", "eng-cat", "spa-eng_US")
SPANISH = (
    "El puente colgante cruza el río desde hace cien años.",
    "La biblioteca municipal abre todos los días a las nueve de la mañana",
    "Se ruega no dar de comer a las palomas",
    "Mañana lloverá en toda la costa. Pasado mañana no.",
)
# Answers as the program does: text for text, what is escaped or in brackets left as it is, and at
# the end more null characters than texts.
SHOUT = "sys.stdout.write(data.decode().upper().replace('.[]', ', YES.[]') + 3 * chr(0))"


def shouted(text: str) -> str:
    return f"{text.upper()}, YES"


def translator() -> ApertiumTranslator:
    return ApertiumTranslator("MT")


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Puts a script in the program's place: `play(what it does with its input)`."""
    program = tmp_path / "prefix" / "bin" / "apertium"
    program.parent.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(program.parent))

    def write(behaviour: str = SHOUT, listing: str | None = None) -> Path:
        listing = listing or f"print({'  '.join(MODES)!r})"
        program.write_text(
            f"#!{sys.executable} -SE\n"
            "import json, os, sys, time\n"
            "if sys.argv[1:] == ['-l']:\n"
            f"    {listing}\n"
            "    sys.exit()\n"
            "data = sys.stdin.buffer.read()\n"
            f"with open({str(tmp_path / 'runs')!r}, 'a') as file:\n"
            "    print(json.dumps([sys.argv[1:], data.decode()]), file=file)\n"
            f"{behaviour}\n"
        )
        program.chmod(0o755)
        return program

    return write


def runs(tmp_path: Path) -> list:
    return [json.loads(line) for line in (tmp_path / "runs").read_text().splitlines()]


# The real program.


@pytest.fixture(scope="module")
def spanish_pair() -> ApertiumTranslator:
    if shutil.which("apertium") is None:
        pytest.skip("Apertium is not installed: apt install apertium apertium-eng-spa")
    real = ApertiumTranslator("MT")
    if "spa" not in real.modes:
        pytest.skip("Apertium has no pair spa-eng: apt install apertium-eng-spa")
    return real


def test_apertium_gives_a_batch_the_translations_of_its_texts_alone(spanish_pair):
    together = spanish_pair.translate(SPANISH, "es")
    assert together == [spanish_pair.translate([text], "es")[0] for text in SPANISH]


def test_what_apertium_uses_itself_is_text_like_any_other(spanish_pair):
    odd = [
        "¿Cuánto cuesta {esto}? <b>10 €</b> \\ / ^hola$ @uno [dos] ~tres+cuatro* #cinco",
        "^gato<n><m><sg>$",
        "hola.[] adiós.[]",
        "a" * 5_000,
        "-l --help -f html",
        "$(touch /tmp/x) `id`; exit 1",
        "\u202eabc\u200b",
    ]
    texts = [text for each in odd for text in (SPANISH[0], each)]
    answers = spanish_pair.translate(texts, "es")
    assert set(answers[::2]) == set(spanish_pair.translate(SPANISH[:1], "es"))
    assert not any("\n" in answer for answer in answers)


def test_the_tool_translates_with_apertium(spanish_pair):
    tool = MachineTranslation()
    tool.check_available()
    assert "backend=apertium pairs=" in tool.version
    answers = tool.call_batch([(text, DOCUMENT) for text in SPANISH])
    assert all(isinstance(answer, str) for answer in answers)
    assert "pigeons" in answers[2].lower()


# The script in its place.


def test_texts_are_the_input_of_the_program_and_never_its_arguments(play, tmp_path):
    play()
    texts = ["uno", "$(reboot) {dos} / tres", "-l"]
    assert translator().translate(texts, "es") == [shouted(text) for text in texts]
    ((arguments, data),) = runs(tmp_path)
    assert arguments == ["-z", "-u", "-f", "none", "spa-eng"]
    assert data == "uno.[]\0\\$(reboot) \\{dos\\} \\/ tres.[]\0-l.[]\0"


def test_the_pair_is_found_by_any_name_of_the_language(play, tmp_path):
    play()
    for language in ("es", "eu", "hr"):
        assert translator().translate(["bat"], language) == ["BAT, YES"]
    assert [arguments[-1] for arguments, _ in runs(tmp_path)] == ["spa-eng", "eu-en", "hbs-eng"]
    for language in ("en", "ca", "unheard"):
        answers = translator().translate(["a", "b"], language)
        assert [answer.reason for answer in answers] == ["unsupported_language"] * 2
    assert len(runs(tmp_path)) == 3


@pytest.mark.parametrize(
    "behaviour",
    [
        f"{SHOUT}; sys.exit(3)",
        "pass",
        "sys.stdout.write('one.[]\\0')",
        "sys.stdout.write('a.[]\\0b.[]\\0c.[]\\0')",
        "sys.stdout.write('a.[]\\0b\\0')",
        "sys.stdout.buffer.write(b'\\xff.[]\\0\\xc3.[]\\0')",
    ],
)
def test_a_program_that_fails_gives_an_error(play, behaviour):
    play(behaviour)
    with pytest.raises(TranslationFailedError):
        translator().translate(["uno", "dos"], "es")


def test_a_text_that_fails_leaves_the_others_alone(play):
    play(f"if b'palomas' in data: sys.exit(1)\n{SHOUT}")
    tool = MachineTranslation()
    answers = tool.call_batch([(text, DOCUMENT) for text in SPANISH])
    assert answers[2].reason == "translation_failed"
    assert answers[:2] == [shouted(text) for text in SPANISH[:2]]


@pytest.mark.parametrize(
    "listing",
    [
        "print('eng-spa  cat-ita')",
        "sys.exit(2)",
        "time.sleep(60)",
        "sys.stdout.buffer.write(b'\\xff\\xfe')",
        "sys.stdout.write('x' * 1_000_000)",
        None,
    ],
)
def test_without_a_pair_or_program_the_tool_is_unavailable(play, monkeypatch, listing):
    monkeypatch.setattr("tools.translation.apertium._LISTING_SECONDS", 0.5)
    program = play(listing=listing)
    if listing is None:
        program.write_text("#!/no/such/interpreter\n")
    with pytest.raises(ToolUnavailableError):
        MachineTranslation().check_available()
    assert "pairs=" in MachineTranslation().version


def test_a_program_that_hangs_or_is_gone_during_a_run_gives_no_answer(play):
    program = play(f"if b'tarde' in data: time.sleep(60)\n{SHOUT}")
    under_test = translator()
    assert under_test.translate(["uno"], "es") == [shouted("uno")]
    under_test.timeout_seconds = 0.5
    with pytest.raises(ToolTimeoutError, match="within"):
        under_test.translate(["tarde"], "es")
    program.unlink()
    with pytest.raises(ToolUnavailableError, match="not installed"):
        under_test.translate(["uno"], "es")


def test_other_programs_or_data_of_a_pair_are_another_version(play, tmp_path):
    program = play()
    # Of one tool: a dictionary may be replaced during its life.
    tool = MachineTranslation()
    plain = tool.version
    data = tmp_path / "spa-eng.bin"
    data.write_bytes(b"12345")
    modes = program.parent.parent / "share" / "apertium" / "modes"
    modes.mkdir(parents=True)
    mode = modes / "spa-eng.mode"
    mode.write_text(f"lt-proc '{data}' | apertium-tagger -g $2 /no/such/file")
    with_data = tool.version
    data.write_bytes(b"12354")
    other_data = tool.version
    stage = program.with_name("lt-proc")
    stage.write_bytes(b"one")
    stage.chmod(0o755)
    with_program = tool.version
    stage.write_bytes(b"two")
    other_program = tool.version
    mode.write_text("")
    versions = {plain, with_data, other_data, with_program, other_program, tool.version}
    assert len(versions) == 6
    play(listing="print('spa-eng')")
    assert MachineTranslation().version not in (plain, with_data, other_data)


# Programs that misbehave, played by small scripts.


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_running(process_id: int) -> bool:
    # One that ended and was not waited for is still listed.
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and " Z " not in status.read_text()


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    numbers = tmp_path / "numbers"
    # As a shell script with a pipeline: ending the shell alone would leave the others.
    script = f"sleep 60 & echo $! $$ > {numbers}; sleep 60 | cat"
    with pytest.raises(TimeoutError, match=r"did not finish within 0\.5 s"):
        run_program(["/bin/sh", "-c", script], timeout_seconds=0.5)
    give_up = time.monotonic() + 5
    while any(is_running(int(number)) for number in numbers.read_text().split()):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_program_gives_its_status_and_both_outputs_and_need_not_read():
    text = b"x" * 3_000_000
    code = "import sys; print(sys.stdin.read()); print('hm', file=sys.stderr); sys.exit(3)"
    done = run_program(python(code), text, timeout_seconds=20.0)
    assert (done.returncode, done.stdout, done.stderr) == (3, text + b"\n", b"hm\n")
    assert run_program(python("print(1)"), text, timeout_seconds=20.0).stdout == b"1\n"


def test_a_program_that_closes_its_outputs_is_ended():
    before = len(list(Path("/proc/self/fd").iterdir()))
    code = "import os, time\nos.close(1); os.close(2); time.sleep(60)"
    with pytest.raises(TimeoutError):
        run_program(python(code), timeout_seconds=1.0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
