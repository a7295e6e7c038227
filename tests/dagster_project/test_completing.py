"""Where `toolformer complete` ends a text, and what it says of it."""

import pytest

from dagster_project.commands.complete import sentence_end
from tests.fakes import save_taught_model


@pytest.mark.slow
def test_complete_ends_with_the_sentence_and_goes_on_as_far_as_it_is_told(run, tmp_path):
    begun, sentence = "A mile", "A mile is 1.6 km, says Mr. Fox."
    directory = save_taught_model(tmp_path / "taught", [f"{sentence} Then he says more."])
    command = ["complete", begun, "--no-tools", "--model", str(directory)]
    ended = run(*command)
    assert (ended.code, ended.out.strip(), "Stopped" in ended.err) == (0, sentence, False)
    assert "Then he says" in run(*command, "--max-tokens", 40).out
    for asked in (["--max-tokens", 2], ["--set", "decoding.max_new_tokens=2"]):
        cut = run(*command, *asked)
        assert len(cut.out.strip()) < len(sentence)
        assert "Stopped after 2 tokens, before the end of the sentence." in cut.err


@pytest.mark.slow
def test_complete_says_that_the_model_wrote_nothing(run, tmp_path):
    text = "A mile is long."
    directory = save_taught_model(tmp_path / "taught", [text])
    told = run("complete", text, "--no-tools", "--model", str(directory))
    assert (told.out.strip(), "ended the text at once" in told.err) == (text, True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" 3.5 kg of it. The", " 3.5 kg of it."),
        (" 1620 eggs.", None),
        (" 1620 eggs.\n", " 1620 eggs."),
        (" 42. 7 more", " 42."),
        (" J. R. R. Tolkien, and not Dr. Lee! He", " J. R. R. Tolkien, and not Dr. Lee!"),
        (" at 5 p.m. and at 6. Then", " at 5 p.m. and at 6."),
        (" “Is it?” he asked. “No.” Then", " “Is it?” he asked."),
        (' said "it is so." Then', ' said "it is so."'),
        ("\n\nIt is\nso", "\n\nIt is"),
        (" wait... and see", None),
        ("これは。次", "これは。"),
    ],
)
def test_a_sentence_ends_where_readers_end_it(text: str, sentence: str | None):
    end = sentence_end(text)
    assert (None if end is None else text[:end]) == sentence
