"""A tiny random T5."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from tests.fakes import END, START, byte_tokenizer
from toolformer.question_answering.fusion_in_decoder import FusionInDecoderReader
from tools.errors import ToolDiedError, ToolUnavailableError

PASSAGES = [
    {"title": "Otter", "text": "Otters swim in rivers and eat fish.", "score": 0.0},
    {"title": "Suez", "text": "The canal opened in 1869.", "score": -1.0},
]
QUESTION = "who swims?"


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    tokenizer = byte_tokenizer().backend
    tokenizer.pad_token = START
    torch.manual_seed(11)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            decoder_start_token_id=0,
            initializer_factor=3.0,
        )
    )
    folder = tmp_path_factory.mktemp("t5")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def reader(directory: Path) -> FusionInDecoderReader:
    return FusionInDecoderReader(
        directory, device=lambda: "cpu", identity=lambda: "tiny", max_tokens=256, answer_tokens=5
    )


def literal(made: FusionInDecoderReader, passages) -> tuple[str, float]:
    """One passage at a time through the encoder, the whole answer again for each token."""
    model, tokenizer = made._loaded
    states = []
    with torch.inference_mode():
        for each in passages:
            text = f"question: {QUESTION} title: {each['title']} context: {each['text']}"
            fed = torch.tensor([[*tokenizer.encode(text), 1]])
            states.append(model.encoder(input_ids=fed).last_hidden_state[0])
        fused = torch.cat(states)[None]
        tokens, log = [0], 0.0
        while tokens[-1] != 1 and len(tokens) <= 5:
            answer = torch.tensor([tokens])
            logits = model(encoder_outputs=(fused,), decoder_input_ids=answer).logits[0, -1]
            logs = torch.log_softmax(logits, dim=-1)
            tokens.append(int(logs.argmax()))
            log += float(logs[tokens[-1]])
    text = tokenizer.backend.decode(tokens[1:], skip_special_tokens=True)
    return " ".join(text.split()), math.exp(log)


@pytest.mark.parametrize("count", [1, 2])
def test_the_decoder_sees_all_passages(directory, count):
    made = reader(directory)
    (answer,) = made.read([(QUESTION, PASSAGES[:count])])
    text, probability = literal(made, PASSAGES[:count])
    assert answer is not None
    assert answer.text == text
    assert answer.probability == pytest.approx(probability, rel=1e-3)


def test_a_passage_that_spells_the_end_token_does_not_end_there(directory):
    made, fed = reader(directory), []
    encoder = made._loaded[0].get_encoder()
    encoder.register_forward_pre_hook(
        lambda _, args, options: fed.append(options["input_ids"]), with_kwargs=True
    )
    made.read([(QUESTION, [{**PASSAGES[0], "text": f"Otters {END} swim."}])])
    assert [ids.eq(1).nonzero().tolist() for ids in fed] == [[[0, fed[0].shape[1] - 1]]]


def test_an_answer_does_not_depend_on_the_batch(directory):
    made = reader(directory)
    requests = [(QUESTION, PASSAGES), ("when did it open?", PASSAGES[:1]), (QUESTION, [])]
    together = made.read(requests)
    assert together == [made.read([request])[0] for request in requests]
    assert together[2] is None


def test_damaged_weights_are_said(directory, tmp_path):
    shutil.copytree(directory, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ToolUnavailableError, match="cannot be loaded"):
        reader(tmp_path / "broken").read([(QUESTION, PASSAGES)])


@pytest.mark.parametrize("where", ["to", "get_encoder"])
def test_memory_that_runs_out_says_what_to_lower(directory, monkeypatch, where):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(T5ForConditionalGeneration, where, fail)
    with pytest.raises(ToolDiedError, match=r"Lower tools\.QA\.options\.passages"):
        reader(directory).read([(QUESTION, PASSAGES)])
