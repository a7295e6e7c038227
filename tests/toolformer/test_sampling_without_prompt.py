"""Sampling with the few-shot prompt left out: the start token, the text, and nothing else."""

import dataclasses

import pytest

from tests import literal
from tests.fakes import sampling_parameters
from tests.toolformer.architectures import windows_of
from toolformer import sampling as sampling_module
from toolformer.branches import sample_branches
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.prefix_cache import compute_prompt_prefix
from toolformer.samples import CallReader, branch_uniforms, sample_text_of
from toolformer.sampling import allowed_positions, sample_calls, sample_shard

TEXTS = ("Six times seven is 42.", "Rain.", "„É“ 🌋")
PARAMETERS = sampling_parameters(
    positions_per_text=1000, calls_per_position=1, max_new_tokens=6, round=2
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
    ids = {window.document_id: window.ids for window in windows}
    for row in rows:
        context = [each_model.bos_id, *ids[row.document_id][: row.position]]
        expected = 1.0
        for token in each_model.tokenizer.encode(" ["):
            scores = literal.next_token_log_probabilities(each_model, context)
            expected *= float(scores[token].exp())
            context.append(token)
        assert row.call_probability == pytest.approx(expected, abs=1e-5)


def test_calls_are_sampled_behind_start_token_text_and_forced_opening(each_model, monkeypatch):
    drawn = []

    def record(model, keys, groups, **options):
        sample_branches(model, keys, groups, **options)
        drawn.extend(branch for group in groups for branch in group)

    monkeypatch.setattr(sampling_module, "sample_branches", record)
    parameters = dataclasses.replace(PARAMETERS, positions_per_text=2)
    rows = rows_of(each_model, TEXTS[:2], parameters, takes_arguments=True)
    assert len(rows) == 4
    encode = each_model.tokenizer.encode
    for row, branch in zip(rows, drawn, strict=True):
        text = TEXTS[int(row.document_id.removeprefix("document-"))]
        context = [each_model.bos_id, *encode(text)[: row.position], *encode(" ["), *encode("QA(")]
        uniforms = branch_uniforms(
            7, row.document_id, row.window, "QA", row.position, row.sample_index, count=6
        )
        tokens = literal.sample_behind(
            each_model,
            context,
            uniforms=list(uniforms),
            is_finished=CallReader(True).is_finished,
        )
        assert literal.is_same_or_tie(each_model, context, tokens, branch.tokens)
        assert row.sample_text == sample_text_of(
            each_model.tokenizer.decode(branch.tokens), "QA", is_constrained=True
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
    # The start token, and the text but for its last token, behind which nothing starts.
    assert llama.tokens_fed - before == len(window[0].ids)
