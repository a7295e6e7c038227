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
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

from tools.errors import ToolCallError, ToolDiedError, ToolUnavailableError, TranslationFailedError
from tools.machine_translation import MachineTranslation
from tools.protocol import Document
from tools.translation.nllb import NllbTranslator

LANGUAGES = ("eng_Latn", "spa_Latn", "deu_Latn", "fra_Latn")
TEXTS = (
    "El puente colgante cruza el río desde hace más de cien años.",
    "La biblioteca municipal abre todos los días a las nueve de la mañana.",
    "Se ruega no dar de comer a las palomas de la plaza.",
    "Mañana lloverá en toda la costa.",
    "El tren nocturno sale de la estación central a las diez y media de la noche.",
    "Die Hängebrücke überquert den Fluss seit mehr als hundert Jahren.",
    "Der lange Weg nach Hause begann am frühen Morgen.",
    "The suspension bridge has crossed the river for more than a hundred years.",
    "The municipal library opens every day at nine in the morning.",
)
SPANISH = TEXTS[:5]
GERMAN = TEXTS[5:7]
POSITIONS, TOKENS = 64, 8
EMBEDDINGS, LAYERS = 0.3, 2.0
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="session")
def nllb_directory(tmp_path_factory) -> Path:
    """A tiny model as transformers saves NLLB-200; copied by who damages it."""
    folder = tmp_path_factory.mktemp("nllb") / "model"
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=220, special_tokens=special, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    trained = json.loads(backend.to_str())["model"]
    tokenizer = NllbTokenizer(
        vocab=trained["vocab"],
        merges=[tuple(pair) for pair in trained["merges"]],
        extra_special_tokens=list(LANGUAGES),
        src_lang=LANGUAGES[0],
    )
    tokenizer.save_pretrained(folder)
    config = M2M100Config(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=POSITIONS,
        init_std=0.4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = M2M100ForConditionalGeneration(config)
    # Embeddings are also the output layer: where they outweigh the rest, a token repeats itself
    # for ever, and what is written does not depend on what is read.
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() == 2:
                weights *= EMBEDDINGS if "shared" in name else LAYERS
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def own_nllb(nllb_directory: Path, tmp_path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(nllb_directory, tmp_path / "own"))


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
    assert together != under_test.translate(german, "de")
    # What is written depends on what is read.
    assert len(set(under_test.translate(SPANISH, "es"))) > 1


def test_a_text_longer_than_the_model_takes_is_refused_and_the_others_are_translated(
    nllb_directory,
):
    under_test = translator(nllb_directory)
    first, refusal, second = under_test.translate([SPANISH[0], " ".join(SPANISH), SPANISH[1]], "es")
    assert isinstance(refusal, ToolCallError)
    assert refusal.reason == "too_long"
    assert str(POSITIONS) in str(refusal)
    assert [first, second] == under_test.translate(SPANISH[:2], "es")


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
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
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


def test_what_stands_under_a_version_is_of_the_model_that_it_names(nllb_directory, own_nllb):
    tool = MachineTranslation(model_directory=str(own_nllb), max_new_tokens=TOKENS)
    requests = [(text, Document("d", "")) for text in SPANISH]
    before, of_before = tool.version, tool.call_batch(requests)
    weights = load_file(own_nllb / WEIGHTS)
    save_file(
        {name: tensor.flip(0) for name, tensor in weights.items()},
        own_nllb / WEIGHTS,
        metadata={"format": "pt"},
    )
    assert tool.version != before
    of_other = tool.call_batch(requests)
    assert of_other == translator(own_nllb).translate(SPANISH, "es")
    shutil.copy(nllb_directory / WEIGHTS, own_nllb)
    assert (tool.version, tool.call_batch(requests)) == (before, of_before)
    assert of_before != of_other


def test_a_model_short_of_memory_fails_so_that_the_batch_can_be_divided(
    nllb_directory, monkeypatch
):
    def short_of_memory(self, inputs):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(NllbTranslator, "_generate", short_of_memory)
    with pytest.raises(TranslationFailedError, match="memory"):
        translator(nllb_directory).translate(SPANISH, "es")


def test_a_model_that_memory_does_not_hold_says_what_to_set(nllb_directory, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(M2M100ForConditionalGeneration, "to", fail)
    with pytest.raises(ToolDiedError, match=r"options\.precision to bfloat16"):
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
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr
    assert "terminate called" not in done.stderr
