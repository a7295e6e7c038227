-- The tables of the warehouse: types, constraints and the meaning of every column.
--
-- This file is the one truth. DuckDB creates a table from it before each write, so a partition
-- that breaks a constraint never reaches the disk; `schema.py` reads the same text for the
-- descriptions. Form that `schema.py` relies on: the lines of comment right above
-- `create table` describe the table, and each column stands on a line of its own that ends in
-- its description; the primary key and further constraints follow. `not cut by shard` marks
-- tables whose partitions belong to no shard.
--
-- A NULL passes a CHECK, and DuckDB allows no lambda in one.

-- One row per text of the corpus.
create table documents (
    document_id varchar not null,  -- Digest of source and offset; the key.
    shard varchar not null,  -- Shard of the corpus that the text belongs to.
    text varchar not null,  -- The text as it was read.
    context varchar,  -- What stands in front of the text in training and is not annotated, where the source has such a column.
    title varchar,  -- Title, where the source has one.
    url varchar,  -- Address the text was published at, where the source has one.
    published_on date,  -- Date of publication, where the source has one.
    language varchar,  -- ISO 639-1 code of the detected language.
    source varchar not null,  -- File or collection that the text was read from.
    source_offset bigint not null check (source_offset >= 0),  -- Place of the record in its source, counted from 0.
    primary key (document_id)
);

-- One row per record of a source that could not become a document.
create table rejected_records (
    shard varchar not null,  -- Shard of the corpus that the record would belong to.
    source varchar not null,  -- File or collection that the record was read from.
    source_offset bigint not null check (source_offset >= 0),  -- Place of the record in its source, counted from 0.
    reason varchar not null check (regexp_full_match(reason, '[a-z0-9_]+')),  -- Why it was rejected, one snake_case word.
    excerpt varchar,  -- Beginning of the record, as far as it could be read.
    primary key (source, source_offset)
);

-- One row per file, kind and column: what its records hold and its documents do not, with how often
-- it was so.
create table reading_losses (
    shard varchar not null,  -- Shard of the corpus that the records belong to.
    source varchar not null,  -- File or collection that the records were read from.
    kind varchar not null check (regexp_full_match(kind, '[a-z_]+')),  -- What was lost: dates, addresses, columns, unread_columns, templates, formulas, damaged_bytes, encodings, marks, calls, unread_marks or markup.
    name varchar not null,  -- Column that nothing reads, of unread_columns; empty for the other kinds.
    count bigint not null check (count > 0),  -- How often; of damaged_bytes the bytes.
    primary key (shard, source, kind, name)
);

-- One row per calculation that people marked in a text, such as GSM8K's <<48/2=24>>, and per call,
-- such as [Calculator(48 / 2) -> 24], that was taken out when the text was read (strip_marks).
create table text_marks (
    document_id varchar not null,  -- Document that the mark stood in.
    shard varchar not null,  -- Shard of the corpus.
    number integer not null check (number >= 0),  -- Number of the mark in its document, counted from 0.
    character_offset integer not null check (character_offset >= 0),  -- Where it stood, in characters of the document's text from 0; the result that a reader sees follows.
    expression varchar not null,  -- What is worked out, or the arguments of a call, as written.
    result varchar not null,  -- What the mark says comes out, as it is written.
    called_tool varchar,  -- Tool that a call names; NULL for a calculation.
    primary key (document_id, number)
);

-- One row per document, tool and round: whether the tool's heuristics let the document be
-- annotated.
create table document_selection (
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    document_id varchar not null,  -- Document that was looked at.
    is_selected boolean not null,  -- Whether calls of the tool are sampled for the document.
    reason varchar not null check (regexp_full_match(reason, '[a-z0-9_]+')),  -- Why, one snake_case word, also when selected.
    round integer not null check (round >= 1),  -- Sampling round, counted from 1.
    primary key (document_id, tool, round)
);

-- One row per few-shot prompt that calls were sampled with.
create table prompts (  -- not cut by shard
    digest varchar not null,  -- Digest of the text, as the metadata of candidate_calls names it; the key.
    text varchar not null,  -- The prompt P(x), with `{text}` where the text goes.
    primary key (digest)
);

-- One row per sampled call, parsed or dropped.
create table candidate_calls (
    call_id varchar not null,  -- Digest of document, window, tool, position, sample index and round; the key.
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    document_id varchar not null,  -- Document that holds the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, counted from 0.
    position integer not null check (position >= 0),  -- Token of the window that the call stands in front of, counted from 0.
    character_offset integer not null check (character_offset >= 0),  -- Place of the call in the document's text, in characters from 0.
    call_probability double check (call_probability between 0 and 1),  -- Probability of a call's start at the position, p_i in the paper; NULL where all calls that the tool proposed were taken, so that nothing was chosen by it.
    sample_index integer not null check (sample_index >= 0),  -- Number of the sample at its position, counted from 0.
    arguments varchar,  -- Normalised arguments; NULL only for a sample dropped before they were parsed.
    sample_text varchar not null,  -- What stands after the opening marker, written by the model or proposed by the tool.
    status varchar not null check (status in ('parsed', 'dropped')),  -- Whether the sample is a candidate: parsed or dropped.
    reason varchar check (regexp_full_match(reason, '[a-z0-9_]+')),  -- Why the sample was dropped, one snake_case word, the tool's own where a call may not stand at its place; NULL for a parsed one.
    proposed varchar not null check (proposed in ('none', 'position', 'call')),  -- What the tool proposed: none, the position or the whole call.
    round integer not null check (round >= 1),  -- Sampling round, counted from 1.
    primary key (call_id),
    check ((status = 'parsed') = (reason is null)),
    check (arguments is not null or coalesce(reason in ('no_closing_bracket', 'not_a_call', 'other_tool', 'arrow_in_arguments', 'bracket_in_arguments'), false))
);

-- One row per candidate call: what its tool answered, or why there is no answer.
create table executed_calls (
    call_id varchar not null,  -- Call of candidate_calls; the key.
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    status varchar not null check (status in ('executed', 'failed')),  -- Whether the tool answered: executed or failed.
    reason varchar check (regexp_full_match(reason, '[a-z0-9_]+')),  -- Why there is no answer, one snake_case word; NULL for an executed call.
    message varchar,  -- What the tool, or the server that it asked, said of a call without an answer, or which words of a call peek; NULL for all others.
    result varchar check (result <> ''),  -- The tool's answer; NULL for a failed call.
    duration_ms double not null check (duration_ms >= 0),  -- Time the tool took, in milliseconds.
    from_cache boolean not null,  -- Whether the answer came from the cache of earlier calls.
    repeated_before double check (repeated_before between 0 and 1),  -- Share of the result's sequences of 8 words that end before the call in the text; NULL for fewer than 8 words.
    repeated_after double check (repeated_after between 0 and 1),  -- Share of those that end behind the call; a call with a large share is dropped as a leak.
    peeks boolean not null,  -- Whether the arguments hold a number or a name that stands only behind the call, not in front of it, nor in title or context; dropped as peeks without asking the tool, unless execution.allows_peeking.
    tool_version varchar not null,  -- Version of the tool that answered.
    round integer not null check (round >= 1),  -- Sampling round, counted from 1.
    primary key (call_id),
    check ((status = 'executed') = (reason is null)),
    check (peeks or reason is distinct from 'peeks'),
    check ((status = 'executed') = (result is not null))
);

-- One row per executed call: all its losses that a decision can ask for. No threshold but the
-- lowest one has a part in them.
create table scored_calls (
    call_id varchar not null,  -- Call of candidate_calls; the key.
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    document_id varchar not null,  -- Document that holds the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, counted from 0.
    position integer not null check (position >= 0),  -- Token of the window that the call stands in front of, counted from 0.
    proposed varchar not null check (proposed in ('none', 'position', 'call')),  -- What the tool proposed, as in candidate_calls.
    tokens_used integer not null check (tokens_used >= 0),  -- Tokens behind the position whose losses count; 0 where no text follows.
    loss_without_call double not null,  -- Weighted loss of the following tokens with no call, in nats; L(ε) in the paper.
    loss_call_without_result double,  -- Weighted loss with the call but no result, in nats; NULL where it was not needed.
    loss_with_result double,  -- Weighted loss with call and result, in nats; NULL where it was not needed.
    loss_with_swapped_result double,  -- Weighted loss with the call and the result of another one, in nats; NULL where it was not needed.
    swapped_call_id varchar,  -- Call of the same tool and shard whose result that was.
    is_in_chance_sample boolean not null,  -- Whether the call counts for the chance level: it is also looked at with the swapped result in place of its own.
    loss_with_second_swapped_result double,  -- Weighted loss with a third call's result, which a contrast of the swapped one compares with, in nats; NULL where it was not needed.
    second_swapped_call_id varchar,  -- Call whose result that was; NULL outside of the chance sample, and where the tool has no third result.
    lowest_threshold double not null check (isfinite(lowest_threshold)),  -- Loss reduction below which no further loss was computed, in nats.
    baseline varchar not null check (baseline in ('minimum', 'without_call')),  -- What loss_with_result is compared with: the smaller of the losses without a result, or that without a call alone.
    precision varchar not null,  -- Floating-point format of the model that gave the losses: on a processor float32; of a served model what its server says, else unknown.
    round integer not null check (round >= 1),  -- Sampling round, counted from 1.
    primary key (call_id),
    check ((loss_with_swapped_result is null) = (swapped_call_id is null)),
    check (loss_with_second_swapped_result is null or second_swapped_call_id is not null),
    check (second_swapped_call_id is null or is_in_chance_sample),
    check (not is_in_chance_sample or swapped_call_id is not null),
    check (swapped_call_id <> call_id),
    check (second_swapped_call_id not in (call_id, swapped_call_id))
);

-- One row per executed call: its losses as in scored_calls, the decision and the reason.
create table filtered_calls (
    call_id varchar not null,  -- Call of candidate_calls; the key.
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    document_id varchar not null,  -- Document that holds the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, counted from 0.
    position integer not null check (position >= 0),  -- Token of the window that the call stands in front of, counted from 0.
    proposed varchar not null check (proposed in ('none', 'position', 'call')),  -- What the tool proposed, as in candidate_calls.
    tokens_used integer not null check (tokens_used >= 0),  -- Tokens behind the position whose losses count; 0 where no text follows.
    loss_without_call double not null,  -- Weighted loss of the following tokens with no call, in nats; L(ε) in the paper.
    loss_call_without_result double,  -- Weighted loss with the call but no result, in nats; NULL where it was not needed.
    loss_with_result double,  -- Weighted loss with call and result, in nats; NULL where it was not needed.
    loss_with_swapped_result double,  -- Weighted loss with the call and the result of another one, in nats; NULL where it was not needed.
    swapped_call_id varchar,  -- Call of the same tool and shard whose result that was.
    is_in_chance_sample boolean not null,  -- Whether the call counts for the chance level: it is also looked at with the swapped result in place of its own.
    loss_with_second_swapped_result double,  -- Weighted loss with a third call's result, which a contrast of the swapped one compares with, in nats; NULL where it was not needed.
    second_swapped_call_id varchar,  -- Call whose result that was; NULL outside of the chance sample, and where the tool has no third result.
    lowest_threshold double not null check (isfinite(lowest_threshold)),  -- Loss reduction below which no further loss was computed, in nats.
    baseline varchar not null check (baseline in ('minimum', 'without_call')),  -- What loss_with_result is compared with: the smaller of the losses without a result, or that without a call alone.
    precision varchar not null,  -- Floating-point format of the model that gave the losses: on a processor float32; of a served model what its server says, else unknown.
    loss_reduction double check (not isnan(loss_reduction)),  -- Smaller baseline loss minus loss_with_result, in nats; an upper bound of it where a loss is NULL.
    contrast double,  -- By how much its own result helps more than the swapped one, loss_with_swapped_result minus loss_with_result, in nats; NULL where one of them is.
    is_kept boolean not null,  -- Whether the loss reduction reaches the filtering threshold, and the contrast its own where there is one.
    reason varchar not null check (reason in ('kept', 'below_threshold', 'below_contrast', 'no_swapped_result', 'loss_without_call_below_lowest_threshold', 'bound_below_lowest_threshold', 'not_finite', 'no_text_after_position')),  -- Why the call was kept or dropped.
    chance_reduction double,  -- The loss reduction with the swapped result in place of its own, in nats; NULL outside of the chance sample.
    chance_contrast double,  -- The contrast of the swapped result with the second one, in nats; NULL where it was not needed.
    is_kept_by_chance boolean,  -- Whether the same decision keeps the call with the swapped result; NULL outside of the chance sample, and where the contrast has no second result to compare with.
    filtering_threshold double not null check (isfinite(filtering_threshold)),  -- Smallest loss reduction that keeps a call, in nats; τ_f in the paper.
    contrast_threshold double check (isfinite(contrast_threshold)),  -- Smallest contrast that keeps a call, in nats; NULL where none is asked for.
    round integer not null check (round >= 1),  -- Sampling round, counted from 1.
    primary key (call_id),
    check (is_kept = (reason = 'kept')),
    check (loss_reduction is not null or reason = 'not_finite'),
    check (reaches(filtering_threshold, lowest_threshold)),
    check (not is_kept or coalesce(reaches(loss_reduction, filtering_threshold) and isfinite(loss_reduction) and (loss_call_without_result is not null or baseline = 'without_call') and loss_with_result is not null, false)),
    check (not is_kept or contrast_threshold is null or coalesce(reaches(contrast, contrast_threshold) and isfinite(contrast), false)),
    check (is_in_chance_sample or is_kept_by_chance is null),
    check ((loss_with_swapped_result is null) = (swapped_call_id is null)),
    check (loss_with_second_swapped_result is null or second_swapped_call_id is not null),
    check (second_swapped_call_id is null or is_in_chance_sample),
    check (not is_in_chance_sample or swapped_call_id is not null),
    check (swapped_call_id <> call_id),
    check (second_swapped_call_id not in (call_id, swapped_call_id))
);

-- One row per window and round of the augmented corpus: its text and the calls that won their
-- positions.
create table augmented_texts (
    document_id varchar not null,  -- Document that holds the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, counted from 0.
    shard varchar not null,  -- Shard of the corpus.
    text varchar not null,  -- Text of the window, without calls.
    window_offset integer not null check (window_offset >= 0),  -- Where the window starts in its document, in characters from 0.
    calls struct(call_id varchar, position integer, character_offset integer, tool varchar, arguments varchar, result varchar, loss_reduction double)[] not null check (len(calls) > 0),  -- Calls by their place in this row's text, at most one per position.
    round integer not null check (round >= 1),  -- Sampling round, counted from 1.
    first_call_id varchar,  -- The call of the round before that those of this round were sampled behind; NULL where rounds are not chained.
    context varchar,  -- What stands in front of the document in training; NULL where it has none, and for all but its first window.
    primary key (document_id, window_index, round),
    check (context is null or window_index = 0)
);

-- One row per text that the model is finetuned on or validated with.
create table training_texts (  -- not cut by shard
    document_id varchar not null,  -- Document that holds the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, counted from 0.
    shard varchar not null,  -- Shard of the corpus that the text comes from.
    split varchar not null check (split in ('train', 'development')),  -- Use of the text: train or development.
    text varchar not null,  -- Text of the window, without calls.
    calls struct(call_id varchar, position integer, character_offset integer, tool varchar, arguments varchar, result varchar, loss_reduction double)[] not null,  -- Calls by their place in this row's text, at most one per position; none in a plain window of the corpus.
    context varchar,  -- What stands in front of the document in training; NULL where it has none, and for all but its first window.
    primary key (document_id, window_index),
    check (context is null or window_index = 0),
    check (len(calls) > 0 or split = 'train')
);

-- One row per text that could have been trained on and is not.
create table training_exclusions (  -- not cut by shard
    document_id varchar not null,  -- Document that holds the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, counted from 0.
    shard varchar not null,  -- Shard of the corpus that the text comes from.
    round integer not null check (round >= 1),  -- Sampling round that its calls come from, counted from 1; of a plain window the newest one.
    calls integer not null check (calls >= 0),  -- Number of its calls; 0 for a plain window of the corpus.
    reason varchar not null check (reason in ('duplicate_text', 'shares_ngram', 'near_duplicate', 'over_cap')),  -- Why it is left out: another text is the same but for white space, it shares words with a held-out text, another text is nearly the same, its tools have enough texts.
    held_out_set varchar,  -- Benchmark, or held_out_shards, with whose texts it shares words; NULL for other reasons.
    shared_ngram varchar,  -- The first words that it shares, in lower case and without punctuation; NULL for other reasons.
    other_document_id varchar,  -- Document of the text that it is the same or nearly the same as; NULL for other reasons.
    other_window_index integer check (other_window_index >= 0),  -- Window of that text, counted from 0; NULL for other reasons.
    similarity double check (similarity > 0 and similarity <= 1),  -- Sequences of five words that both near duplicates have, divided by all that either has; NULL for other reasons.
    primary key (document_id, window_index, round),
    check ((reason = 'shares_ngram') = (held_out_set is not null)),
    check ((reason = 'shares_ngram') = (shared_ngram is not null)),
    check ((reason in ('duplicate_text', 'near_duplicate')) = (other_document_id is not null)),
    check ((other_document_id is null) = (other_window_index is null)),
    check ((reason = 'near_duplicate') = (similarity is not null))
);

-- One row per stage, tool and shard: what it cost.
create table stage_costs (
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    stage varchar not null,  -- Stage of the pipeline: sampling, execution or scoring; of scoring, counted apart: swapped_results (calls with the results of others).
    round integer not null check (round >= 1),  -- Sampling round, counted from 1.
    candidates bigint not null check (candidates >= 0),  -- Calls that the stage worked on.
    tokens_fed bigint not null check (tokens_fed >= 0),  -- Token positions fed to the language model.
    seconds double not null check (seconds >= 0),  -- Wall-clock time of the stage, in seconds.
    model varchar,  -- Language model; NULL for a stage that uses none.
    precision varchar,  -- Floating-point format of the model; of a served one what its server says, else unknown; NULL for a stage that uses none.
    primary key (shard, tool, stage, round)
);

-- One row per logged step of a finetuning run.
create table training_metrics (  -- not cut by shard
    run varchar not null,  -- Name of the finetuning run.
    step integer not null check (step >= 0),  -- Optimiser steps done so far.
    loss double not null,  -- Mean training loss since the last row, in nats per token.
    learning_rate double not null check (learning_rate >= 0),  -- Learning rate of the step.
    tokens bigint not null check (tokens >= 0),  -- Tokens trained on so far.
    development_perplexity double,  -- Perplexity of the development split without calls; NULL where it was not measured.
    development_loss double,  -- Mean of the losses of the development split with calls and without, in nats per token.
    call_loss double,  -- Loss of the calls of the development split up to their arrows, in nats per token; NULL where it was not measured or there are none.
    is_kept boolean not null,  -- Whether the model has the weights of this step.
    variant varchar not null,  -- What was trained: calls (the paper's model) or one of the controls plain and shuffled.
    primary key (run, step)
);

-- One row per benchmark item, model and mode.
create table evaluation_results (  -- not cut by shard
    benchmark varchar not null,  -- Name of the benchmark.
    item_id varchar not null,  -- Item of the benchmark.
    model varchar not null,  -- Name of the model.
    precision varchar not null,  -- Floating-point format that the model computed in, float32 for texts; of a served model what its server says, else unknown.
    mode varchar not null,  -- How the model was used: disabled and enabled (calls), k-1 (another k), without-QA (all tools but one), forced (a call opens where it is likeliest), changed and deleted (over tables whose asked facts were edited).
    call_top_k integer not null check (call_top_k >= 0),  -- How likely the opening token had to be: among the k likeliest; 0 where calls were disabled.
    min_call_probability double not null check (min_call_probability between 0 and 1),  -- What its probability and that of the tool's name behind it had to be at least, besides; 0 where k alone decided.
    min_call_probability_behind_prompt double not null check (min_call_probability_behind_prompt between 0 and 1),  -- The same for the first token behind the prompt.
    min_call_probability_by_tool varchar,  -- Both for the tools that have their own, as a JSON object of in_text and behind_prompt by tool; NULL where there are none.
    without_tool varchar,  -- The tool that could not be called in this mode; NULL where none was taken away.
    metric varchar not null check (metric in ('accuracy', 'perplexity')),  -- What the score is: accuracy (1 right, 0 wrong) or perplexity (mean loss).
    prompt varchar,  -- What the model was given.
    output varchar,  -- What the model wrote, with its call.
    answer varchar,  -- What is scored: the output without calls; NULL for texts, and for a prompt that was too long.
    called_tool varchar,  -- Tool that the model called; NULL where it called none.
    arguments varchar,  -- Arguments of the call.
    result varchar,  -- Result of the call.
    is_result_right boolean,  -- Whether the result would be right if it were the answer, by the benchmark's rule; NULL without a call.
    gold varchar,  -- Accepted answers, as a JSON list of texts; empty for texts.
    score double check (not isnan(score)),  -- Score of the item: 1 or 0; of a text its mean loss in nats per token; NULL where it has none.
    counted_by varchar check (counted_by in ('words', 'number', 'rounded_number')),  -- Rule that decided the score, the same in all modes: words; number, equal to within 1e-4; or rounded_number: right only as a gold number rounded to two or three decimals, as the Calculator rounds. NULL where there is no score, and for texts.
    score_weight double not null check (score_weight >= 0),  -- Weight of the score in the mean; of a text the number of its tokens.
    divergence_from_base double check (isfinite(divergence_from_base)),  -- Of a text the mean over its tokens of KL(base model ‖ this model), over the vocabulary, in nats per token; NULL for questions, for the base model and one of another vocabulary, where the base model is served or does not fit into memory beside this one, and where it is not finite.
    item_group varchar,  -- Part of the benchmark that the item belongs to, such as a relation or a kind of question.
    tokens integer check (tokens >= 0),  -- Tokens that the model wrote, calls included and results not.
    stopped_by varchar,  -- Why the output ended: end_of_text, length or stop_text.
    undone_call varchar,  -- A call that was begun and taken back, with the reason; NULL where there was none.
    reason varchar,  -- Why the item has no score: prompt_too_long, tool_failed (asked again next time), empty or non_finite_loss.
    primary key (benchmark, item_id, model, mode)
);

-- One row per benchmark, model and mode: the score with its 95 % interval.
create table score_intervals (  -- not cut by shard
    benchmark varchar not null,  -- Name of the benchmark.
    model varchar not null,  -- Name of the model.
    mode varchar not null,  -- How the model was used.
    metric varchar not null check (metric in ('accuracy', 'perplexity')),  -- What the score is.
    items integer not null check (items > 0),  -- Items with a score.
    share_with_call double not null check (share_with_call between 0 and 1),  -- Share of these in which a tool was called.
    score double not null,  -- Share of right answers, or perplexity.
    low double not null,  -- Lower end of the interval.
    high double not null,  -- Upper end of the interval.
    primary key (benchmark, model, mode)
);

-- One row per benchmark and two ways of answering its items: how much better the first is, and how sure that is.
create table paired_differences (  -- not cut by shard
    benchmark varchar not null,  -- Name of the benchmark.
    model varchar not null,  -- Name of the first model.
    mode varchar not null,  -- How it was used.
    other_model varchar not null,  -- Name of the second model.
    other_mode varchar not null,  -- How it was used.
    metric varchar not null check (metric in ('accuracy', 'perplexity')),  -- What the scores are.
    items integer not null check (items > 0),  -- Items that both have a score for.
    better integer not null check (better >= 0),  -- Items on which the first is better: right where the second is wrong, or of smaller loss.
    worse integer not null check (worse >= 0),  -- Items on which the second is better.
    difference double not null,  -- Score of the first minus score of the second: share of right answers, or perplexity.
    low double not null,  -- Lower end of its 95 % interval, by a paired bootstrap.
    high double not null,  -- Upper end of the interval.
    p_value double not null check (p_value between 0 and 1),  -- How likely so large a difference is by chance: McNemar's exact test; of perplexities a permutation test.
    primary key (benchmark, model, mode, other_model, other_mode)
);
