-- The tables of the warehouse: types, constraints and the meaning of every column.
--
-- This file is the single source of truth. DuckDB creates a table from it before each write, so a
-- partition that breaks a constraint never reaches the disk. `schema.py` parses the descriptions
-- and relies on this form: the comment right above `create table` describes the table, and each
-- column has its own line, which ends in its description. The primary key and other constraints
-- follow. `not cut by shard` denotes tables whose partitions belong to no shard.
--
-- A CHECK accepts NULL, and DuckDB allows no lambda in a CHECK.

-- One row per text of the corpus.
create table documents (
    document_id varchar not null,  -- Digest of source and offset.
    shard varchar not null,  -- Shard of the corpus that the text belongs to.
    text varchar not null,  -- The text as it was read.
    context varchar,  -- Text that precedes this text in training and is not annotated; NULL if the source has no such column.
    title varchar,  -- Title; NULL if the source has none.
    url varchar,  -- Address at which the text was published; NULL if the source has none.
    published_on date,  -- Date of publication; NULL if the source has none.
    language varchar,  -- ISO 639-1 code of the detected language.
    source varchar not null,  -- File or collection from which the text was read.
    source_offset bigint not null check (source_offset >= 0),  -- Position of the record in its source, from 0.
    primary key (document_id)
);

-- One row per source record that could not become a document.
create table rejected_records (
    shard varchar not null,  -- Shard of the corpus that the record would belong to.
    source varchar not null,  -- File or collection from which the record was read.
    source_offset bigint not null check (source_offset >= 0),  -- Position of the record in its source, from 0.
    reason varchar not null check (regexp_full_match(reason, '[a-z0-9_]+')),  -- Reason for the rejection, one snake_case word.
    excerpt varchar,  -- Beginning of the record, as far as it could be read.
    primary key (source, source_offset)
);

-- One row per file, kind of loss and column: content of records that their documents lack.
create table reading_losses (
    shard varchar not null,  -- Shard of the corpus that the records belong to.
    source varchar not null,  -- File or collection from which the records were read.
    kind varchar not null check (regexp_full_match(kind, '[a-z_]+')),  -- Kind of loss: dates, addresses, columns, unread_columns, templates, formulas, damaged_bytes, encodings, marks, calls, unread_marks or markup.
    name varchar not null,  -- Name of the column if the kind is unread_columns; otherwise empty.
    count bigint not null check (count > 0),  -- Number of losses; for damaged_bytes the number of bytes.
    primary key (shard, source, kind, name)
);

-- One row per annotation that was removed from a text when it was read (strip_marks): a calculation
-- such as GSM8K's <<48/2=24>>, or a call such as [Calculator(48 / 2) -> 24].
create table text_marks (
    document_id varchar not null,  -- Document that contained the annotation.
    shard varchar not null,  -- Shard of the corpus.
    number integer not null check (number >= 0),  -- Number of the annotation in its document, from 0.
    character_offset integer not null check (character_offset >= 0),  -- Character offset in the document's text from which it was removed, from 0. The result as readers see it follows.
    expression varchar not null,  -- Expression that is calculated, or arguments of a call, as written.
    result varchar not null,  -- Result according to the annotation, as written.
    called_tool varchar,  -- Tool named by a call; NULL for a calculation.
    primary key (document_id, number)
);

-- One row per document, tool and round: whether the tool's heuristics select the document for
-- annotation.
create table document_selection (
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    document_id varchar not null,  -- Document that the heuristics examined.
    is_selected boolean not null,  -- Whether calls of the tool are sampled for the document.
    reason varchar not null check (regexp_full_match(reason, '[a-z0-9_]+')),  -- Reason for the decision, one snake_case word, also if the document is selected.
    round integer not null check (round >= 1),  -- Annotation round, from 1.
    primary key (document_id, tool, round)
);

-- One row per few-shot prompt with which calls were sampled.
create table prompts (  -- not cut by shard
    digest varchar not null,  -- Digest of the text; the metadata of candidate_calls refers to it.
    text varchar not null,  -- The prompt P(x), with `{text}` as a placeholder for the text.
    primary key (digest)
);

-- One row per sampled call, parsed or dropped.
create table candidate_calls (
    call_id varchar not null,  -- Digest of document, window, tool, position, sample index and round.
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    document_id varchar not null,  -- Document that contains the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, from 0.
    position integer not null check (position >= 0),  -- Token of the window before which the call is inserted, from 0.
    character_offset integer not null check (character_offset >= 0),  -- Character offset of the call in the document's text, from 0.
    call_probability double check (call_probability between 0 and 1),  -- Probability that a call starts at the position, p_i in the paper; NULL if all positions that the tool proposed were used, so that no probability was needed.
    sample_index integer not null check (sample_index >= 0),  -- Number of the sample at its position, from 0.
    arguments varchar,  -- Normalised arguments; NULL only if the sample was dropped before they were parsed.
    sample_text varchar not null,  -- Text after the opening marker, written by the model or proposed by the tool.
    status varchar not null check (status in ('parsed', 'dropped')),  -- parsed if the sample is a candidate, else dropped.
    reason varchar check (regexp_full_match(reason, '[a-z0-9_]+')),  -- Reason why the sample was dropped, one snake_case word; the tool's own if the tool rejects the call at this position. NULL if parsed.
    proposed varchar not null check (proposed in ('none', 'position', 'call')),  -- What the tool proposed: nothing (none), the position or the whole call.
    round integer not null check (round >= 1),  -- Annotation round, from 1.
    primary key (call_id),
    check ((status = 'parsed') = (reason is null)),
    check (arguments is not null or coalesce(reason in ('no_closing_bracket', 'not_a_call', 'other_tool', 'arrow_in_arguments', 'bracket_in_arguments'), false))
);

-- One row per candidate call: the tool's answer, or the reason why there is none.
create table executed_calls (
    call_id varchar not null,  -- Call in candidate_calls.
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    status varchar not null check (status in ('executed', 'failed')),  -- executed if the tool answered, else failed.
    reason varchar check (regexp_full_match(reason, '[a-z0-9_]+')),  -- Reason why there is no answer, one snake_case word; NULL if executed.
    message varchar,  -- Message of the tool or its server about a call without an answer, or the words of a call that peek; otherwise NULL.
    result varchar check (result <> ''),  -- Answer of the tool; NULL if the call failed.
    duration_ms double not null check (duration_ms >= 0),  -- Time that the tool took, in milliseconds.
    from_cache boolean not null,  -- Whether the answer came from the cache of earlier calls.
    repeated_before double check (repeated_before between 0 and 1),  -- Share of the result's 8-word sequences that the text contains before the call; NULL if the result has fewer than 8 words.
    repeated_after double check (repeated_after between 0 and 1),  -- Share of these sequences that end after the call. A call with a large share is dropped as a leak.
    peeks boolean not null,  -- Whether the arguments contain a number or name that the text has only after the call, and neither before it nor in title or context. Unless execution.allows_peeking is set, such a call is dropped with reason peeks, without asking the tool.
    tool_version varchar not null,  -- Version of the tool that answered.
    round integer not null check (round >= 1),  -- Annotation round, from 1.
    primary key (call_id),
    check ((status = 'executed') = (reason is null)),
    check (peeks or reason is distinct from 'peeks'),
    check ((status = 'executed') = (result is not null))
);

-- One row per executed call: all losses that a decision may need. They depend on no threshold
-- except the lowest one.
create table scored_calls (
    call_id varchar not null,  -- Call in candidate_calls.
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    document_id varchar not null,  -- Document that contains the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, from 0.
    position integer not null check (position >= 0),  -- Token of the window before which the call is inserted, from 0.
    proposed varchar not null check (proposed in ('none', 'position', 'call')),  -- What the tool proposed, as in candidate_calls.
    tokens_used integer not null check (tokens_used >= 0),  -- Number of tokens after the position whose losses count; 0 if no text follows.
    loss_without_call double not null,  -- Weighted loss of the following tokens without a call, in nats; L(ε) in the paper.
    loss_call_without_result double,  -- Weighted loss with the call but without its result, in nats; NULL if not needed.
    loss_with_result double,  -- Weighted loss with call and result, in nats; NULL if not needed.
    loss_with_swapped_result double,  -- Weighted loss with the call and another call's result, in nats; NULL if not needed.
    swapped_call_id varchar,  -- Call of the same tool and shard that gave the swapped result.
    is_in_chance_sample boolean not null,  -- Whether the call is in the chance sample, for which the decision is repeated with the swapped result instead of its own.
    loss_with_second_swapped_result double,  -- Weighted loss with a third call's result, in nats, for the contrast of the swapped result; NULL if not needed.
    second_swapped_call_id varchar,  -- Call that gave this third result; NULL outside the chance sample, or if the tool has no third result.
    lowest_threshold double not null check (isfinite(lowest_threshold)),  -- Loss reduction below which further losses were not computed, in nats.
    baseline varchar not null check (baseline in ('minimum', 'without_call')),  -- Loss with which loss_with_result is compared: the smaller of the two losses without a result (minimum), or loss_without_call only (without_call).
    precision varchar not null,  -- Floating-point format in which the losses were computed; float32 on a CPU. For a served model the format that the server reports, or unknown.
    round integer not null check (round >= 1),  -- Annotation round, from 1.
    primary key (call_id),
    check ((loss_with_swapped_result is null) = (swapped_call_id is null)),
    check (loss_with_second_swapped_result is null or second_swapped_call_id is not null),
    check (second_swapped_call_id is null or is_in_chance_sample),
    check (not is_in_chance_sample or swapped_call_id is not null),
    check (swapped_call_id <> call_id),
    check (second_swapped_call_id not in (call_id, swapped_call_id))
);

-- One row per executed call: its losses as in scored_calls, the decision and the reason for it.
create table filtered_calls (
    call_id varchar not null,  -- Call in candidate_calls.
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    document_id varchar not null,  -- Document that contains the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, from 0.
    position integer not null check (position >= 0),  -- Token of the window before which the call is inserted, from 0.
    proposed varchar not null check (proposed in ('none', 'position', 'call')),  -- What the tool proposed, as in candidate_calls.
    tokens_used integer not null check (tokens_used >= 0),  -- Number of tokens after the position whose losses count; 0 if no text follows.
    loss_without_call double not null,  -- Weighted loss of the following tokens without a call, in nats; L(ε) in the paper.
    loss_call_without_result double,  -- Weighted loss with the call but without its result, in nats; NULL if not needed.
    loss_with_result double,  -- Weighted loss with call and result, in nats; NULL if not needed.
    loss_with_swapped_result double,  -- Weighted loss with the call and another call's result, in nats; NULL if not needed.
    swapped_call_id varchar,  -- Call of the same tool and shard that gave the swapped result.
    is_in_chance_sample boolean not null,  -- Whether the call is in the chance sample, for which the decision is repeated with the swapped result instead of its own.
    loss_with_second_swapped_result double,  -- Weighted loss with a third call's result, in nats, for the contrast of the swapped result; NULL if not needed.
    second_swapped_call_id varchar,  -- Call that gave this third result; NULL outside the chance sample, or if the tool has no third result.
    lowest_threshold double not null check (isfinite(lowest_threshold)),  -- Loss reduction below which further losses were not computed, in nats.
    baseline varchar not null check (baseline in ('minimum', 'without_call')),  -- Loss with which loss_with_result is compared: the smaller of the two losses without a result (minimum), or loss_without_call only (without_call).
    precision varchar not null,  -- Floating-point format in which the losses were computed; float32 on a CPU. For a served model the format that the server reports, or unknown.
    loss_reduction double check (not isnan(loss_reduction)),  -- Baseline loss minus loss_with_result, in nats; an upper bound if a loss is NULL.
    contrast double,  -- loss_with_swapped_result minus loss_with_result, in nats: how much more the call's own result helps than another call's. NULL if either loss is.
    is_kept boolean not null,  -- Whether the loss reduction reaches filtering_threshold and, if set, the contrast reaches contrast_threshold.
    reason varchar not null check (reason in ('kept', 'below_threshold', 'below_contrast', 'no_swapped_result', 'loss_without_call_below_lowest_threshold', 'bound_below_lowest_threshold', 'not_finite', 'no_text_after_position')),  -- Reason why the call was kept or dropped.
    chance_reduction double,  -- Loss reduction with the swapped result instead of the call's own, in nats; NULL outside the chance sample.
    chance_contrast double,  -- Contrast of the swapped result with the second swapped result, in nats; NULL if not needed.
    is_kept_by_chance boolean,  -- Whether the call would be kept with the swapped result; NULL outside the chance sample, or if the contrast lacks a second swapped result.
    filtering_threshold double not null check (isfinite(filtering_threshold)),  -- Smallest loss reduction that keeps a call, in nats; τ_f in the paper.
    contrast_threshold double check (isfinite(contrast_threshold)),  -- Smallest contrast that keeps a call, in nats; NULL if no contrast is required.
    round integer not null check (round >= 1),  -- Annotation round, from 1.
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

-- One row per window and round of the augmented corpus C*: its text and the best call of each
-- position.
create table augmented_texts (
    document_id varchar not null,  -- Document that contains the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, from 0.
    shard varchar not null,  -- Shard of the corpus.
    text varchar not null,  -- Text of the window, without calls.
    window_offset integer not null check (window_offset >= 0),  -- Character offset of the window in its document, from 0.
    calls struct(call_id varchar, position integer, character_offset integer, tool varchar, arguments varchar, result varchar, loss_reduction double)[] not null check (len(calls) > 0),  -- Calls in the order of the text, at most one per position; offsets are relative to this row's text.
    round integer not null check (round >= 1),  -- Annotation round, from 1.
    first_call_id varchar,  -- Call of the previous round after which the calls of this round were sampled; NULL if rounds are not chained.
    context varchar,  -- Text that precedes the document in training; NULL if there is none, and for all windows but the first.
    primary key (document_id, window_index, round),
    check (context is null or window_index = 0)
);

-- One row per text of the finetuning set or of the development set.
create table training_texts (  -- not cut by shard
    document_id varchar not null,  -- Document that contains the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, from 0.
    shard varchar not null,  -- Shard of the corpus from which the text comes.
    split varchar not null check (split in ('train', 'development')),  -- Use of the text: train or development.
    text varchar not null,  -- Text of the window, without calls.
    calls struct(call_id varchar, position integer, character_offset integer, tool varchar, arguments varchar, result varchar, loss_reduction double)[] not null,  -- Calls in the order of the text, at most one per position; offsets are relative to this row's text. Empty for a plain window of the corpus.
    context varchar,  -- Text that precedes the document in training; NULL if there is none, and for all windows but the first.
    primary key (document_id, window_index),
    check (context is null or window_index = 0),
    check (len(calls) > 0 or split = 'train')
);

-- One row per text that was excluded from training.
create table training_exclusions (  -- not cut by shard
    document_id varchar not null,  -- Document that contains the window.
    window_index integer not null check (window_index >= 0),  -- Number of the window in its document, from 0.
    shard varchar not null,  -- Shard of the corpus from which the text comes.
    round integer not null check (round >= 1),  -- Annotation round of its calls, from 1; for a plain window the newest round.
    calls integer not null check (calls >= 0),  -- Number of calls; 0 for a plain window of the corpus.
    reason varchar not null check (reason in ('duplicate_text', 'shares_ngram', 'near_duplicate', 'over_cap')),  -- Reason for the exclusion: the text equals another apart from white space (duplicate_text), shares words with a held-out text (shares_ngram), is almost the same as another text (near_duplicate), or its tools have enough texts (over_cap).
    held_out_set varchar,  -- For shares_ngram the benchmark with which it shares words, or held_out_shards; otherwise NULL.
    shared_ngram varchar,  -- For shares_ngram the first shared words, in lower case and without punctuation; otherwise NULL.
    other_document_id varchar,  -- For duplicate_text and near_duplicate the other text's document; otherwise NULL.
    other_window_index integer check (other_window_index >= 0),  -- Window of that text in its document, from 0; otherwise NULL.
    similarity double check (similarity > 0 and similarity <= 1),  -- For near_duplicate the Jaccard similarity of the five-word sequences of both texts; otherwise NULL.
    primary key (document_id, window_index, round),
    check ((reason = 'shares_ngram') = (held_out_set is not null)),
    check ((reason = 'shares_ngram') = (shared_ngram is not null)),
    check ((reason in ('duplicate_text', 'near_duplicate')) = (other_document_id is not null)),
    check ((other_document_id is null) = (other_window_index is null)),
    check ((reason = 'near_duplicate') = (similarity is not null))
);

-- One row per shard, tool, stage and round: its cost.
create table stage_costs (
    shard varchar not null,  -- Shard of the corpus.
    tool varchar not null,  -- Name of the tool as written in calls.
    stage varchar not null,  -- Stage of the pipeline: sampling, execution or scoring. The part of scoring that uses other calls' results is counted separately as swapped_results.
    round integer not null check (round >= 1),  -- Annotation round, from 1.
    candidates bigint not null check (candidates >= 0),  -- Number of calls that the stage processed.
    tokens_fed bigint not null check (tokens_fed >= 0),  -- Number of tokens fed to the language model.
    seconds double not null check (seconds >= 0),  -- Wall-clock time of the stage, in seconds.
    model varchar,  -- Language model; NULL if the stage uses none.
    precision varchar,  -- Floating-point format of the model; for a served model the format that the server reports, or unknown. NULL if the stage uses none.
    primary key (shard, tool, stage, round)
);

-- One row per logged step of a finetuning run.
create table training_metrics (  -- not cut by shard
    run varchar not null,  -- Name of the finetuning run.
    step integer not null check (step >= 0),  -- Number of optimiser steps so far.
    loss double not null,  -- Mean training loss since the previous row, in nats per token.
    learning_rate double not null check (learning_rate >= 0),  -- Learning rate of the step.
    tokens bigint not null check (tokens >= 0),  -- Number of tokens trained on so far.
    development_perplexity double,  -- Perplexity of the development split without calls; NULL if not measured.
    development_loss double,  -- Mean of the development losses with and without calls, in nats per token; NULL if not measured.
    call_loss double,  -- Loss of the development split's calls up to their arrows, in nats per token; NULL if not measured or if the split has no calls.
    is_kept boolean not null,  -- Whether the stored model has the weights of this step.
    variant varchar not null,  -- Variant that was trained: calls (the paper's model), or one of the controls plain and shuffled.
    primary key (run, step)
);

-- One row per benchmark item, model and mode.
create table evaluation_results (  -- not cut by shard
    benchmark varchar not null,  -- Name of the benchmark.
    item_id varchar not null,  -- Item of the benchmark.
    model varchar not null,  -- Name of the model.
    precision varchar not null,  -- Floating-point format in which the model computed; float32 for texts. For a served model the format that the server reports, or unknown.
    mode varchar not null,  -- How the model was used: disabled or enabled (calls), k-1 (another k), without-QA (all tools but one), forced (a call opens where it is most likely), changed or deleted (with the requested facts edited in the tables).
    call_top_k integer not null check (call_top_k >= 0),  -- A call could open if the opening token was among this many most likely tokens; 0 if calls were disabled.
    min_call_probability double not null check (min_call_probability between 0 and 1),  -- Smallest product of the probabilities of opening token and tool name that could open a call, in addition to the rule of call_top_k; 0 if only that rule applied.
    min_call_probability_behind_prompt double not null check (min_call_probability_behind_prompt between 0 and 1),  -- The same minimum for the first token after the prompt.
    min_call_probability_by_tool varchar,  -- Both minimums for tools with their own, as a JSON object of in_text and behind_prompt by tool; NULL if no tool has its own.
    without_tool varchar,  -- Tool that could not be called in this mode; NULL if all could.
    metric varchar not null check (metric in ('accuracy', 'perplexity')),  -- Kind of score: accuracy (1 right, 0 wrong) or perplexity (mean loss).
    prompt varchar,  -- Input of the model.
    output varchar,  -- Output of the model, with its call.
    answer varchar,  -- Scored part, the output without calls; NULL for texts, and if the prompt was too long.
    called_tool varchar,  -- Tool that the model called; NULL if it called none.
    arguments varchar,  -- Arguments of the call.
    result varchar,  -- Result of the call.
    is_result_right boolean,  -- Whether the result, taken as the answer, would be right by the benchmark's rule; NULL without a call.
    gold varchar,  -- Accepted answers as a JSON list of strings; empty for texts.
    score double check (not isnan(score)),  -- Score of the item: 1 or 0, or for a text the mean loss in nats per token; NULL if it has no score.
    counted_by varchar check (counted_by in ('words', 'number', 'rounded_number')),  -- Rule that decided the score, the same in all modes: words; number (equal within 1e-4); or rounded_number (right only as a gold number that is rounded to two or three decimals, as the Calculator rounds). NULL for texts, and without a score.
    score_weight double not null check (score_weight >= 0),  -- Weight of the score in the mean; for a text its number of tokens.
    divergence_from_base double check (isfinite(divergence_from_base)),  -- For a text, the mean over its tokens of KL(base model ‖ this model), in nats per token. NULL for questions, for the base model and models with another vocabulary, if the base model is served or does not fit into memory along with this one, and if the value is not finite.
    item_group varchar,  -- Part of the benchmark to which the item belongs, such as a relation or a kind of question.
    tokens integer check (tokens >= 0),  -- Number of tokens that the model wrote, including calls but not results.
    stopped_by varchar,  -- Reason why the output ended: end_of_text, length or stop_text.
    undone_call varchar,  -- First call that the model began and that was removed again, with the reason; NULL if there was none.
    reason varchar,  -- Reason why the item has no score: prompt_too_long, tool_failed (asked again next time), empty or non_finite_loss.
    primary key (benchmark, item_id, model, mode)
);

-- One row per benchmark, model and mode: the score with its 95 % interval.
create table score_intervals (  -- not cut by shard
    benchmark varchar not null,  -- Name of the benchmark.
    model varchar not null,  -- Name of the model.
    mode varchar not null,  -- How the model was used; see evaluation_results.
    metric varchar not null check (metric in ('accuracy', 'perplexity')),  -- Kind of score: accuracy or perplexity.
    items integer not null check (items > 0),  -- Number of items with a score.
    share_with_call double not null check (share_with_call between 0 and 1),  -- Share of these items in which a tool was called.
    score double not null,  -- Share of right answers, or perplexity.
    low double not null,  -- Lower end of the 95 % interval.
    high double not null,  -- Upper end of the 95 % interval.
    primary key (benchmark, model, mode)
);

-- One row per benchmark and pair of models and modes: how much better the first one is, and whether
-- that can be chance.
create table paired_differences (  -- not cut by shard
    benchmark varchar not null,  -- Name of the benchmark.
    model varchar not null,  -- Name of the first model.
    mode varchar not null,  -- How that model was used; see evaluation_results.
    other_model varchar not null,  -- Name of the second model.
    other_mode varchar not null,  -- How that model was used; see evaluation_results.
    metric varchar not null check (metric in ('accuracy', 'perplexity')),  -- Kind of score: accuracy or perplexity.
    items integer not null check (items > 0),  -- Number of items for which both have a score.
    better integer not null check (better >= 0),  -- Number of items on which the first is better: right while the second is wrong, or a smaller loss.
    worse integer not null check (worse >= 0),  -- Number of items on which the second is better.
    difference double not null,  -- Score of the first minus score of the second: share of right answers, or perplexity.
    low double not null,  -- Lower end of the difference's 95 % interval, by a paired bootstrap.
    high double not null,  -- Upper end of the 95 % interval.
    p_value double not null check (p_value between 0 and 1),  -- p-value of the difference: McNemar's exact test, or a permutation test for perplexities.
    primary key (benchmark, model, mode, other_model, other_mode)
);
