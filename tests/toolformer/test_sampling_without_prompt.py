"""Sampling with the few-shot prompt left out: the start token, the text, and nothing else."""

import dataclasses

import pytest

from tests.literal import next_token_log_probabilities
from tests.toolformer.architectures import windows_of
from toolformer.checkpoint import Checkpoint
from toolformer.prefix_cache import compute_prompt_prefix
from toolformer.samples import CallReader, SamplingParameters, branch_uniforms, sample_text_of
from toolformer.sampling import allowed_positions, sample_calls, sample_shard

TEXTS = ("Six times seven is 42.", "Rain.", "„É“ 🌋")
PARAMETERS = SamplingParameters(
    sampling_threshold=0.0,
    positions_per_text=1000,
    calls_per_position=1,
    max_new_tokens=6,
    temperature=1.0,
    seed=7,
    is_constrained=True,
    round=2,
)


def rows_of(model, texts, parameters, *, takes_arguments: bool):
    return sample_calls(
        model,
        compute_prompt_prefix(model, None),
        windows_of(model.tokenizer, *texts),
        tool_name="QA",
        takes_arguments=takes_arguments,
        parse_arguments=str.strip,
        parameters=parameters,
    )


def test_positions_have_the_probability_of_a_call_behind_the_start_token(each_model):
    rows = rows_of(each_model, TEXTS, PARAMETERS, takes_arguments=False)
    windows = windows_of(each_model.tokenizer, *TEXTS)
    allowed = [place for window in windows for place in allowed_positions(window)]
    assert len(rows) == sum(allowed)
    (open_id,) = each_model.tokenizer.encode(" [")
    ids = {window.document_id: window.ids for window in windows}
    for row in rows:
        context = [each_model.bos_id, *ids[row.document_id][: row.position]]
        expected = float(next_token_log_probabilities(each_model, context)[open_id].exp())
        assert row.call_probability == pytest.approx(expected, abs=1e-5)


def test_calls_are_sampled_behind_start_token_text_and_forced_opening(each_model):
    parameters = dataclasses.replace(PARAMETERS, positions_per_text=2)
    rows = rows_of(each_model, TEXTS[:2], parameters, takes_arguments=True)
    assert len(rows) == 4
    encode = each_model.tokenizer.encode
    for row in rows:
        text = TEXTS[int(row.document_id.removeprefix("document-"))]
        context = [each_model.bos_id, *encode(text)[: row.position], *encode(" ["), *encode("QA(")]
        uniforms = branch_uniforms(
            7, row.document_id, row.window, "QA", row.position, row.sample_index, count=6
        )
        tokens: list[int] = []
        for uniform in uniforms:
            probabilities = next_token_log_probabilities(each_model, context + tokens).double()
            ordered = probabilities.exp().sort(descending=True, stable=True)
            # The tiny vocabulary is hardly larger than the 256 that are sampled by rank.
            place = int((ordered.values.cumsum(0) <= uniform).sum())
            tokens.append(int(ordered.indices[min(place, len(probabilities) - 1)]))
            texts = [each_model.tokenizer.decode([token]) for token in tokens]
            if CallReader(True).is_finished(texts):
                break
        assert row.sample_text == sample_text_of(
            each_model.tokenizer.decode(tokens), "QA", is_constrained=True
        )


def test_a_shard_is_sampled_without_feeding_a_prompt(llama, tmp_path):
    window = windows_of(llama.tokenizer, TEXTS[0])
    before = llama.tokens_fed
    rows = sample_shard(
        llama,
        None,
        window,
        tool_name="QA",
        takes_arguments=False,
        parse_arguments=str.strip,
        parameters=dataclasses.replace(PARAMETERS, positions_per_text=1),
        windows_per_batch=1,
        window_tokens=64,
        checkpoint=Checkpoint(tmp_path, fingerprint="x"),
        progress=lambda *_: None,
    )
    assert [row.status for row in rows] == ["parsed"]
    assert llama.tokens_fed - before == 1 + len(window[0].ids)
