"""The tool MT over a translator that a test can watch; the translators have tests of their own."""

import pytest

from tools.errors import (
    CallSyntaxError,
    ToolCallError,
    ToolSettingsError,
    ToolTimeoutError,
    ToolUnavailableError,
    TranslationFailedError,
)
from tools.machine_translation import MachineTranslation
from tools.protocol import Document

DOCUMENT = Document("d", "")
BRIDGE = "El puente colgante cruza el río desde hace cien años"
LIBRARY = "La biblioteca municipal abre todos los días a las nueve"
ROAD = "Der lange Weg nach Hause begann am frühen Morgen"
ENGLISH = "The suspension bridge has crossed the river for a hundred years"


class Reverser:
    """Writes texts backwards; some it refuses, or raises an error at."""

    max_batch_size = 3

    def __init__(self):
        self.batches = []
        self.refusals = {}

    def translate(self, texts, language):
        self.batches.append((language, list(texts)))
        answers = [self.refusals.get(text, text[::-1]) for text in texts]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers


@pytest.fixture
def tool(monkeypatch):
    made = MachineTranslation()
    monkeypatch.setattr(made, "_translator", Reverser())
    return made


def requests(*phrases):
    return [(phrase, DOCUMENT) for phrase in phrases]


def reasons(answers):
    return [answer.reason if isinstance(answer, ToolCallError) else None for answer in answers]


def test_phrases_of_one_language_go_together_each_once_and_answers_come_in_order(tool):
    answers = tool.call_batch(requests(BRIDGE, ROAD, LIBRARY, BRIDGE))
    assert answers == [BRIDGE[::-1], ROAD[::-1], LIBRARY[::-1], BRIDGE[::-1]]
    assert tool._translator.batches == [("es", [LIBRARY, BRIDGE]), ("de", [ROAD])]
    assert tool.call(BRIDGE, DOCUMENT) == BRIDGE[::-1]


def test_what_has_no_translation_says_why(tool):
    tool._translator.refusals[ROAD] = f" {ROAD.upper()} "
    answers = tool.call_batch(requests(ENGLISH, "12 + 7", BRIDGE, "x" * 501, "…", ROAD))
    assert reasons(answers) == [
        *("already_english", "no_words", None, "too_long", "no_words", "unchanged")
    ]
    assert tool._translator.batches == [("es", [BRIDGE]), ("de", [ROAD])]


def test_a_batch_that_fails_is_divided_and_only_the_culprit_has_no_answer(tool):
    translator = tool._translator
    translator.refusals[BRIDGE] = TranslationFailedError("It broke.")
    answers = tool.call_batch(requests(LIBRARY, BRIDGE))
    assert answers[0] == LIBRARY[::-1]
    assert reasons(answers) == [None, "translation_failed"]
    # A failure may pass: it is tried again.
    del translator.refusals[BRIDGE]
    assert reasons(tool.call_batch(requests(BRIDGE))) == [None]


@pytest.mark.parametrize(
    "error", [ToolUnavailableError("MT", "gone", "Bring it back"), ToolTimeoutError("Late.")]
)
def test_an_error_of_the_whole_translator_is_not_swallowed(tool, error):
    tool._translator.refusals[BRIDGE] = error
    with pytest.raises(type(error)):
        tool.call_batch(requests(BRIDGE))


def test_batches_are_as_large_as_the_translator_takes(tool):
    phrases = [f"{BRIDGE} {'y más ' * count}lejos" for count in range(7)]
    tool.call_batch(requests(*phrases))
    assert [len(texts) for _, texts in tool._translator.batches] == [3, 3, 1]


def test_arguments_are_one_line_of_printable_text(tool):
    assert (
        tool.parse_arguments(" La casa \n junto\tal\0mar\x1b\ud800 y ") == "La casa junto al mar y"
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("Her novel LA  CASA\njunto al Mar ", "sold well.", None),
        ("La casa junto al mar", " and again La casa junto al mar", None),
        ("", "la CASA\n junto al mar", "look_ahead"),
        ("Her novel La casa jun", "to al mar", "look_ahead"),
        ("La casa junto", "to the al mar", "not_in_text"),
    ],
)
def test_only_what_stands_in_front_of_a_call_may_be_translated(tool, before, after, expected):
    try:
        reason = tool.check_position("La casa junto al mar", before=before, after=after)
    except CallSyntaxError as error:
        reason = error.reason
    assert reason == expected


def test_a_setting_that_cannot_be_used_is_named():
    for setting, value in {"beam_size": 0, "precision": "int8"}.items():
        with pytest.raises(ToolSettingsError, match=setting):
            MachineTranslation(**{setting: value})


def test_with_a_directory_nllb_translates_and_one_that_is_not_there_is_named(tmp_path):
    assert MachineTranslation().backend == "apertium"
    tool = MachineTranslation(model_directory=tmp_path / "none")
    assert tool.backend == "nllb"
    for use in (tool.check_available, lambda: tool.call(BRIDGE, DOCUMENT)):
        with pytest.raises(ToolUnavailableError, match=str(tmp_path / "none")):
            use()
    assert "model=none" in tool.version
