"""NLLB-200 by transformers, on a tiny model of the same class with random weights."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import M2M100ForConditionalGeneration, NllbTokenizer

from tests.tools.translation.conftest import GERMAN, POSITIONS, SPANISH
from tools.errors import ToolCallError, ToolUnavailableError, TranslationFailedError
from tools.machine_translation import MachineTranslation
from tools.protocol import Document
from tools.translation.nllb import NllbTranslator

TOKENS, WEIGHTS = 8, "model.safetensors"


def translator(directory: Path, **changes) -> NllbTranslator:
    options = {
        "beam_size": 1,
        "max_new_tokens": TOKENS,
        "batch_size": 16,
        "device": "cpu",
        "precision": "float32",
        **changes,
    }
    return NllbTranslator("MT", directory, **options)


def literal(directory: Path, texts: Sequence[str], source: str, *, beams: int) -> list[str]:
    """The documented way: one text, nothing padded."""
    tokenizer = NllbTokenizer.from_pretrained(directory, src_lang=source)
    model = M2M100ForConditionalGeneration.from_pretrained(directory)
    english = tokenizer.convert_tokens_to_ids("eng_Latn")
    written = [
        model.generate(
            **tokenizer(text, return_tensors="pt", split_special_tokens=True),
            forced_bos_token_id=english,
            num_beams=beams,
            do_sample=False,
            max_new_tokens=TOKENS,
        )[0]
        for text in texts
    ]
    # The decoder begins with the end token, and English follows.
    assert {ids[1].item() for ids in written} == {english}
    return [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]


@pytest.mark.parametrize("beams", [1, 4])
def test_a_padded_batch_says_what_each_text_alone_says_the_documented_way(nllb_directory, beams):
    under_test = translator(nllb_directory, beam_size=beams)
    german = [*GERMAN, "der </s> deu_Latn"]
    for language, source, texts in (
        ("es", "spa_Latn", SPANISH),
        ("de", "deu_Latn", german),
        ("es", "spa_Latn", german),
    ):
        together = under_test.translate(texts, language)
        assert together == literal(nllb_directory, texts, source, beams=beams)
        assert len(set(together)) > 1, "what is written does not depend on what is read"
    assert together != under_test.translate(german, "de")


def test_a_text_longer_than_the_model_takes_is_refused_and_the_others_are_translated(
    nllb_directory,
):
    under_test = translator(nllb_directory)
    first, refusal, second = under_test.translate([SPANISH[0], " ".join(SPANISH), SPANISH[1]], "es")
    assert isinstance(refusal, ToolCallError)
    assert refusal.reason == "too_long"
    assert str(POSITIONS) in str(refusal)
    assert [first, second] == under_test.translate(SPANISH[:2], "es")
    # The longest that it takes, with a token for the language and one for the end.
    word = under_test._tokenizer.decode(under_test._tokenizer.encode("de")[1])
    fitting = " ".join([word] * (POSITIONS - 2))
    assert len(under_test._tokenizer.encode(fitting)) == POSITIONS
    assert isinstance(under_test.translate([fitting], "es")[0], str)


def test_a_language_that_model_or_table_lacks_is_unsupported(nllb_directory):
    for language in ("fi", "unheard"):
        (answer,) = translator(nllb_directory).translate(["Kaikki ihmiset"], language)
        assert isinstance(answer, ToolCallError)
        assert answer.reason == "unsupported_language"


def test_the_identity_is_that_of_the_model_and_of_what_decoding_depends_on(
    nllb_directory, own_nllb
):
    identity = translator(nllb_directory).identity()
    for change in ({"batch_size": 1}, {"device": "auto"}):
        assert translator(own_nllb, **change).identity() == identity
    for name, value in (("beam_size", 4), ("max_new_tokens", 3), ("precision", "bfloat16")):
        changed = translator(own_nllb, **{name: value}).identity()
        assert changed != identity
        assert f"{name}={value}" in changed
    config = json.loads((own_nllb / "generation_config.json").read_text())
    (own_nllb / "generation_config.json").write_text(json.dumps({**config, "length_penalty": 2.0}))
    changed = translator(own_nllb).identity()
    shutil.rmtree(own_nllb)
    assert len({identity, changed, translator(own_nllb).identity()}) == 3


def _drop_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors.pop("model.decoder.layers.1.fc2.weight")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _leave_pickles(folder: Path) -> None:
    # Weights that could run code.
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]),
        _drop_a_tensor,
        _leave_pickles,
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
    ],
)
def test_a_damaged_directory_makes_the_tool_unavailable(own_nllb, damage):
    damage(own_nllb)
    with pytest.raises(ToolUnavailableError, match=str(own_nllb)):
        translator(own_nllb).translate(SPANISH[:1], "es")


def test_the_tool_translates_with_the_model_whose_directory_it_is_given(nllb_directory):
    tool = MachineTranslation(
        model_directory=str(nllb_directory), max_new_tokens=TOKENS, batch_size=2
    )
    tool.check_available()
    assert "backend=nllb" in tool.version
    answers = tool.call_batch([(text, Document("d", "")) for text in (*SPANISH, *GERMAN)])
    expected = translator(nllb_directory).translate(SPANISH, "es")
    assert answers == expected + translator(nllb_directory).translate(GERMAN, "de")


def test_a_model_short_of_memory_fails_so_that_the_batch_can_be_divided(
    nllb_directory, monkeypatch
):
    def short_of_memory(self, inputs):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(NllbTranslator, "_generate", short_of_memory)
    with pytest.raises(TranslationFailedError, match="memory"):
        translator(nllb_directory).translate(SPANISH, "es")


@pytest.mark.slow
def test_a_program_ends_well_while_a_translation_is_left_behind(nllb_directory):
    # A thread that is inside the model when the interpreter goes would bring the process down.
    code = f"""
import threading
from pathlib import Path
from tests.tools.translation.test_nllb import SPANISH, translator
model = translator(Path({str(nllb_directory)!r}), max_new_tokens=40)
model.translate(SPANISH, "es")
def translate():
    while True:
        model.translate(SPANISH, "es")
threading.Thread(target=translate, daemon=True).start()
print("over")
"""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr
        assert "terminate called" not in done.stderr
