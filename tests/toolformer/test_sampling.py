import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import literal
from tests.fakes import END, SAMPLING, START, TOOL, byte_tokenizer, tiny_model
from tests.toolformer.architectures import CONTEXT_LENGTH, windows_of
from toolformer import reference
from toolformer.errors import SequenceTooLongError
from toolformer.forward import prefill
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.prefill import rows_before_texts
from toolformer.forward.tokenization import Tokenizer
from toolformer.samples import CallReader, branch_uniforms, forced_text, sample_text_of
from toolformer.sampling import allowed_positions, check_context, sample_calls, sample_shard
from toolformer.settings.annotation_sections import ExecutionSettings, SamplingSettings
from toolformer.settings.corpus_sections import CorpusSettings
from toolformer.settings.sections import Settings
from toolformer.settings.tool_sections import ToolSettings

PROMPT = "Calls.\nIn: {text}\nOutput:"
TEXTS = ("Six times seven is 42.", "Rain.", "„É“ 🌋 [sic]")
THREE = TOOL.model_copy(update={"positions_per_text": 3})
EVERYWHERE = TOOL.model_copy(update={"positions_per_text": 1000})


def call(model, windows, tool=THREE, *, prompt=PROMPT, **changes):
    options = {"takes_arguments": True, "sampling": SAMPLING, **changes}
    return sample_calls(
        model, prompt, windows, tool_name="QA", parse_arguments=str.strip, tool=tool, **options
    )


def probabilities(rows) -> dict:
    return {(row.document_id, row.position): row.call_probability for row in rows}


def text_of(row) -> str:
    return TEXTS[int(row.document_id.removeprefix("document-"))]


def context_of(model, prompt, row, forced=()) -> list[int]:
    """What is fed in front of a call."""
    if prompt is not None:
        return reference.sampling_context(model, prompt, text_of(row), row.position, pieces=forced)
    text_ids = model.tokenizer.encode(text_of(row))
    return [model.bos_id, *text_ids[: row.position], *model.tokenizer.encode_pieces(forced)]


@pytest.mark.parametrize("prompt", [PROMPT, None])
def test_call_probabilities_of_all_positions_equal_the_literal_ones(
    each_model, each_windows, prompt
):
    rows = call(each_model, each_windows, EVERYWHERE, takes_arguments=False, prompt=prompt)
    for window in each_windows:
        places = [row.position for row in rows if row.document_id == window.document_id]
        assert places == [p for p, is_allowed in enumerate(allowed_positions(window)) if is_allowed]
    for row in rows:
        context = context_of(each_model, prompt, row)
        (opening,) = each_model.tokenizer.encode(" [")
        scores = reference.next_token_log_probabilities(each_model, context)
        assert row.call_probability == pytest.approx(math.exp(scores[opening]), abs=1e-5)


@pytest.mark.parametrize(
    ("prompt", "is_constrained"), [(PROMPT, True), (PROMPT, False), (None, True)]
)
def test_sampled_calls_equal_the_literal_ones(each_model, each_windows, prompt, is_constrained):
    drawn = []
    sampling = SAMPLING.model_copy(update={"is_constrained": is_constrained})
    rows = call(each_model, each_windows, TOOL, prompt=prompt, sampling=sampling, branches=drawn)
    assert len(rows) == 3 * 2 * 2
    forced = forced_text("QA", is_constrained=is_constrained)
    equal = 0
    for row, branch in zip(rows, drawn, strict=True):
        uniforms = branch_uniforms(
            7, row.document_id, row.window_index, "QA", row.position, row.sample_index, count=8
        )
        context = context_of(each_model, prompt, row, forced)
        tokens = reference.sample_tokens(
            each_model,
            context,
            list(uniforms).__getitem__,
            max_tokens=len(uniforms),
            is_finished=lambda text: CallReader(is_constrained).end(text) is not None,
        )
        assert literal.is_same_or_tie(each_model, context, tokens, branch.tokens)
        equal += branch.tokens == tokens
        assert row.sample_text == sample_text_of(
            reference.text_of(each_model, branch.tokens), "QA", is_constrained=is_constrained
        )
    assert equal >= len(rows) - 2


@pytest.mark.parametrize("special", [START, END, "<s>"])
def test_a_sampled_special_token_ends_the_call_and_is_no_part_of_its_arguments(
    special, monkeypatch
):
    tokenizer = byte_tokenizer()
    tokenizer.backend.add_special_tokens({"additional_special_tokens": ["<s>"]})
    model = tiny_model(tokenizer=Tokenizer(tokenizer.backend))
    written = [*model.tokenizer.encode("Who"), model.tokenizer.backend.get_vocab()[special]]
    steps = iter([*written, *model.tokenizer.encode("?)")])

    def draw(_, uniforms, **others):
        return [next(steps)] * len(uniforms), [0.0] * len(uniforms)

    monkeypatch.setattr(prefill, "sample_tokens", draw)
    drawn = []
    tool = ToolSettings(sampling_threshold=0, positions_per_text=1, calls_per_position=1)
    (row,) = call(model, windows_of(model.tokenizer, TEXTS[0]), tool, branches=drawn)
    assert drawn[0].tokens == written
    assert (row.sample_text, row.reason) == ("QA(Who", "no_closing_bracket")


def assert_same(rows, others) -> None:
    """But for the last digits of the probabilities."""
    assert [row.call_id for row in rows] == [row.call_id for row in others]
    assert [row.sample_text for row in rows] == [row.sample_text for row in others]
    assert [row.call_probability for row in rows] == pytest.approx(
        [row.call_probability for row in others], abs=1e-5
    )


def test_the_company_of_a_text_does_not_change_its_calls(each_model, each_windows):
    together = call(each_model, each_windows)
    assert call(each_model, each_windows) == together
    assert_same([row for window in each_windows for row in call(each_model, [window])], together)
    backwards = call(each_model, each_windows[::-1])
    assert_same(sorted(backwards, key=lambda row: row.document_id), together)


def test_another_seed_gives_other_samples_at_the_same_places(llama, windows):
    first = call(llama, windows)
    other = call(llama, windows, sampling=SAMPLING.model_copy(update={"seed": 8}))
    assert probabilities(other) == probabilities(first)
    assert [row.sample_text for row in other] != [row.sample_text for row in first]


# Of the positions of each text; position 2 of the third text lies inside a character.
PROPOSED = [{0: None, 3: "6 * 7", 9: None, 12: None}, {}, {2: None, 3: "a (b"}]


def test_the_most_probable_of_the_proposed_positions_are_taken_whatever_the_threshold(llama):
    windows = windows_of(llama.tokenizer, *TEXTS)
    tool = TOOL.model_copy(update={"sampling_threshold": 0.9})
    places = [dict.fromkeys(of_text) for of_text in PROPOSED]
    rows = call(llama, windows, tool, proposed=places)
    assert {row.proposed for row in rows} == {"position"}
    # The literal choice: p_i of every position, then the two largest of those proposed.
    expected = {}
    for number, window in enumerate(windows):
        allowed = allowed_positions(window)
        of_text = {
            (number, place): reference.call_probability(llama, PROMPT, TEXTS[number], place)
            for place in places[number]
            if allowed[place]
        }
        largest = sorted(of_text, key=lambda place: -of_text[place])[:2]
        expected |= {place: of_text[place] for place in largest}
    assert len(expected) == 3
    found = {(int(row.document_id[-1]), row.position): row.call_probability for row in rows}
    assert found == pytest.approx(expected, abs=1e-5)
    # The same samples as at places that the model chooses.
    everywhere = {row.call_id: row for row in call(llama, windows, EVERYWHERE)}
    assert all(row.sample_text == everywhere[row.call_id].sample_text for row in rows)


def test_a_proposed_call_is_the_candidate_and_the_other_places_are_sampled(llama):
    windows = windows_of(llama.tokenizer, *TEXTS)
    tool = EVERYWHERE.model_copy(update={"sampling_threshold": 0.9})
    rows = call(llama, windows, tool, proposed=PROPOSED)
    places = [dict.fromkeys(of_text) for of_text in PROPOSED]
    sampled = call(llama, windows, tool, proposed=places)
    proposed = [row for row in rows if row.proposed == "call"]
    assert [
        (row.document_id, row.position, row.sample_index, row.sample_text, row.arguments)
        for row in proposed
    ] == [("document-0", 3, 0, "QA(6 * 7)]", "6 * 7"), ("document-2", 3, 0, "QA(a (b)]", "a (b")]
    by_id = {row.call_id: row for row in sampled}
    for row in rows:
        of_place = by_id[row.call_id]
        assert row.call_probability == pytest.approx(of_place.call_probability, abs=1e-5)
        if row.proposed == "position":
            assert row.sample_text == of_place.sample_text
    others = {(row.document_id, row.position) for row in rows} - {
        (row.document_id, row.position) for row in proposed
    }
    assert others == {("document-0", 0), ("document-0", 9), ("document-0", 12)}


def test_where_all_calls_are_proposed_nothing_is_sampled_or_read_behind_them(llama, windows):
    encode = llama.tokenizer.encode
    rows_before_texts(llama, PROMPT)
    before = llama.tokens_fed
    rows = call(llama, windows, proposed=[{1: "Who?"}, {0: "[x]"}, {}])
    # Of the first text one token is read, of the others none; texts are padded to the longest.
    read = [
        len(encode(f" {text}\nOutput:")) + tokens
        for text, tokens in zip(TEXTS, (1, 0, 0), strict=True)
    ]
    assert llama.tokens_fed - before == len(TEXTS) * max(read)
    assert [(row.arguments, row.status, row.reason) for row in rows] == [
        ("Who?", "parsed", None),
        (None, "dropped", "bracket_in_arguments"),
    ]
    settled = call(llama, windows, takes_arguments=False, proposed=[{1: ""}, {0: None}, {}])
    assert [(row.sample_text, row.proposed) for row in settled] == [
        ("QA()]", "call"),
        ("QA()]", "position"),
    ]


def test_text_tokens_are_fed_once_and_forced_ones_once_per_position(llama, windows):
    encode = llama.tokenizer.encode
    rows_before_texts(llama, PROMPT)
    # Nothing starts behind a text's last token. Texts are padded to the longest.
    texts = len(TEXTS) * max(
        len(encode(f" {text}\nOutput:")) + len(encode(text)) - 1 for text in TEXTS
    )
    before = llama.tokens_fed
    call(llama, windows, sampling=SAMPLING.model_copy(update={"max_new_tokens": 1}))
    forced = len(encode(" [")) + len(encode("QA("))
    assert llama.tokens_fed - before == texts + 3 * 3 * forced
    before = llama.tokens_fed
    call(llama, windows)
    # At most seven more steps, each with two branches at three positions of three texts.
    assert llama.tokens_fed - before <= texts + 3 * 3 * (forced + 7 * 2)


def test_there_is_no_second_pass_when_no_position_qualifies_or_no_argument_is_sampled(
    llama, windows
):
    before = llama.tokens_fed
    rows = call(llama, windows, takes_arguments=False)
    first_pass = llama.tokens_fed - before
    assert [row.sample_index for row in rows] == [0] * 9
    assert {(row.sample_text, row.arguments, row.status) for row in rows} == {
        ("QA()]", "", "parsed")
    }
    before = llama.tokens_fed
    assert call(llama, windows, ToolSettings(sampling_threshold=0.999)) == []
    assert llama.tokens_fed - before == first_pass


def test_no_call_stands_inside_a_character_or_before_a_bracket_of_the_text(tokenizer):
    (window,) = windows_of(tokenizer, "é  [a] [")
    allowed = allowed_positions(window)
    places = [window.offsets[position] for position, is_ in enumerate(allowed) if is_]
    assert places == [0, 4, 5]


def check(prompt, window, new, context, *, result=1, is_chained=False):
    settings = Settings().model_copy(
        update={
            "corpus": CorpusSettings.model_construct(window_tokens=window),
            "sampling": SamplingSettings.model_construct(max_new_tokens=new, is_chained=is_chained),
            "execution": ExecutionSettings(max_result_tokens=result),
        }
    )
    check_context("QA", prompt, byte_tokenizer(), settings, context_length=context)


@given(
    # A token is a byte.
    prompt=st.none() | st.integers(1, 600).map(lambda tokens: "x" * tokens + " {text}"),
    window=st.integers(1, 600),
    new=st.integers(1, 100),
    context=st.integers(64, 2048),
    more=st.fixed_dictionaries({"result": st.integers(1, 300), "is_chained": st.booleans()}),
)
@example(prompt=None, window=9, new=1, context=64, more={"result": 11, "is_chained": True})
def test_the_window_size_named_in_the_error_fits(prompt, window, new, context, more):
    shared = 0 if prompt is None else len(prompt) - len(" {text}")
    try:
        check(prompt, window, new, context, **more)
    except SequenceTooLongError as error:
        if "no window fits" in str(error):
            with pytest.raises(SequenceTooLongError):
                check(prompt, 8, new, context, **more)
        else:
            fitting = int(str(error).split("corpus.window_tokens to at most ")[1].split(",")[0])
            assert 8 <= fitting < window
            check(prompt, fitting, new, context, **more)
    else:
        first = new + more["result"] if more["is_chained"] else 0
        assert shared + (1 if prompt is None else 2) * window + first + new < context
        assert window + first + new + more["result"] < context


def test_a_result_and_a_first_call_take_room_too():
    check(None, 100, 40, 256, result=50)
    with pytest.raises(SequenceTooLongError, match="a call of 40 with a result of 110"):
        check(None, 100, 40, 256, result=110)
    with pytest.raises(SequenceTooLongError, match="a first call of 106 with its result and a"):
        check(None, 100, 40, 256, result=50, is_chained=True)


@pytest.mark.parametrize("context", [64, 200, 690])
def test_where_no_window_fits_the_sentence_names_the_prompt(context):
    with pytest.raises(SequenceTooLongError, match=r"prompt of 600 .*tools\.QA\.prompt") as error:
        check("x" * 600 + " {text}", 64, 64, context)
    assert "corpus.window_tokens" not in str(error.value)


def shard(model, windows, folder, *, progress=lambda done, total: None, per_batch=2, **changes):
    values = {
        "prompt": PROMPT,
        "tool_name": "QA",
        "takes_arguments": True,
        "parse_arguments": str.strip,
        "tool": THREE,
        "sampling": SAMPLING.model_copy(update={"windows_per_batch": per_batch}),
        "window_tokens": 64,
        "checkpoint": Checkpoint(folder, fingerprint="x"),
        "progress": progress,
    }
    values |= changes
    return sample_shard(model, values.pop("prompt"), windows, **values)


def test_a_shard_has_the_rows_of_its_windows_in_their_order(llama, windows, tmp_path):
    told = []
    rows = shard(llama, windows, tmp_path, progress=lambda *counts: told.append(counts))
    assert_same(rows, call(llama, windows))
    assert told == [(2, 3), (3, 3)]


def test_a_window_without_proposals_is_not_read(llama, windows, tmp_path):
    told, proposed = [], [{}, {0: None}, {0: None}]
    rows = shard(
        llama, windows, tmp_path / "a", proposed=proposed, progress=lambda *n: told.append(n)
    )
    assert list(probabilities(rows)) == [("document-1", 0), ("document-2", 0)]
    assert told == [(2, 2)]
    before = llama.tokens_fed
    assert shard(llama, windows, tmp_path / "b", proposed=[{}, {}, {}]) == []
    assert llama.tokens_fed == before


def test_up_to_k_proposed_calls_are_taken_without_a_pass_and_more_by_their_probability(
    llama, windows, tmp_path
):
    proposed = [{3: "6 * 7", 0: "Who?"}, {0: "[x]"}, {3: "a (b"}]
    one, two = (EVERYWHERE.model_copy(update={"positions_per_text": k}) for k in (1, 2))
    before = llama.tokens_fed
    rows = shard(llama, windows, tmp_path / "two", proposed=proposed, tool=two)
    assert llama.tokens_fed == before
    chosen = call(llama, windows, two, proposed=proposed)
    assert [replace(row, call_probability=None) for row in chosen] == rows
    fewer = shard(llama, windows, tmp_path / "one", proposed=proposed, tool=one)
    assert fewer[0].position == max(chosen[:2], key=lambda row: row.call_probability or 0).position
    assert [row.call_probability is None for row in fewer] == [False, True, True]


class KilledError(Exception):
    """Stands for a process that is killed."""


def test_an_interrupted_shard_goes_on_with_the_unfinished_batches(llama, windows, tmp_path):
    rows_before_texts(llama, PROMPT)
    before = llama.tokens_fed
    undisturbed = shard(llama, windows, tmp_path / "a", per_batch=1)
    full_cost = llama.tokens_fed - before

    def die_after_two(done, total):
        if done == 2:
            raise KilledError

    before = llama.tokens_fed
    with pytest.raises(KilledError):
        shard(llama, windows, tmp_path / "b", per_batch=1, progress=die_after_two)
    first_cost = llama.tokens_fed - before
    before = llama.tokens_fed
    resumed = shard(llama, windows, tmp_path / "b", per_batch=1)
    assert resumed == undisturbed
    # The prompt was fed before: once for all shards that a model is held for.
    assert first_cost + (llama.tokens_fed - before) == full_cost
    before = llama.tokens_fed
    assert shard(llama, windows, tmp_path / "b", per_batch=1) == undisturbed
    assert llama.tokens_fed == before


def test_a_shard_is_sampled_without_feeding_a_prompt(llama, windows, tmp_path):
    before = llama.tokens_fed
    rows = shard(llama, windows[:1], tmp_path / "a", prompt=None, takes_arguments=False)
    assert [row.status for row in rows] == ["parsed"] * 3
    # The start token, and the text but for its last token, behind which nothing starts.
    assert llama.tokens_fed - before == len(windows[0].ids)


def test_a_shard_whose_windows_do_not_fit_the_context_is_refused(llama, windows, tmp_path):
    long = windows_of(llama.tokenizer, "Rain. " * 70, window_tokens=400)
    with pytest.raises(SequenceTooLongError, match=rf"row of \d+ tokens.*at most {CONTEXT_LENGTH}"):
        shard(llama, long, tmp_path / "a")
