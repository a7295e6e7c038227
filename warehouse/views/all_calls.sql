-- Every sampled call, kept or dropped, with its text, result and losses, and what became of it.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   round: sampling round, from 1
--   is_kept: whether it was kept; false for every other call, also one that was never scored
--   dropped_by: stage that dropped it: sampling, execution or filtering; NULL for a kept call, and
--     for one that the next stage has still to look at
--   reason: why it was dropped, or kept, one snake_case word
--   text_before: up to 120 characters in front of the call
--   arguments: of the call; NULL for a sample that could not be read as one
--   result: of the tool; NULL without one
--   text_after: up to 120 characters behind the call
--   title: of the text; NULL where it has none
--   proposed: what the tool proposed: none, the position or the whole call
--   peeks: whether its arguments hold a number or a name that stands only behind it; NULL for a
--     sample that is no candidate
--   call_probability: p_i of its position; NULL where all proposals of the tool were taken
--   loss_without_call: in nats; this and the columns below are NULL for a call that was not scored
--   loss_call_without_result: in nats; NULL also where it was not needed, as are those below
--   loss_with_result: in nats
--   loss_with_swapped_result: in nats
--   loss_reduction: in nats; an upper bound of it where the reason ends with below_lowest_threshold
--   contrast: by how much its own result helps more than another call's, in nats
--   filtering_threshold: in nats
--   contrast_threshold: in nats
--   lowest_threshold: loss reduction below which no further loss was computed, in nats
--   baseline: what loss_with_result is compared with: minimum or without_call
--   precision: floating-point format of the model that gave the losses
--   is_in_chance_sample: whether it counts for the chance level
--   swapped_call_id: call whose result loss_with_swapped_result is of
--   tool_version: version of the tool that answered; this and the columns up to message are NULL
--     where none was asked
--   duration_ms: time that it took, in milliseconds
--   from_cache: whether the answer came from the cache of earlier calls
--   message: what the tool said of a call that it refused, or which words peek
--   sample_text: what was sampled or proposed
--   sample_index: number of the sample at its position, from 0
--   document_id: text that the call stands in
--   window_index: window of the text, from 0
--   position: token of the window that the call stands in front of, from 0
--   character_offset: the same place in the whole text, in characters from 0
--   url: address of the text, if the source has one
--   source: file or collection that the text was read out of
--   source_offset: which record of the source, from 0
--   shard: key of the shard
with replaced as (
    -- Results and decisions of rows in whose place are others, since a build was stopped or runs.
    select
        made.table_name,
        made.shard,
        regexp_replace(made.partition, '^round-\d+\.', '') as tool,
        coalesce(try_cast(regexp_extract(made.partition, '^round-(\d+)\.', 1) as integer), 1)
            as round
    from partition_metadata as made
    inner join partition_metadata as input
        on input.shard = made.shard
        and input.table_name in ('documents', 'candidate_calls', 'executed_calls')
        and input.partition in (made.partition, 'all')
    where
        made.table_name in ('executed_calls', 'filtered_calls')
        and json_extract_string(
            made.metadata ->> 'made_from',
            '$."' || input.table_name || ' of ' || input.shard || ', ' || input.partition || '"'
        ) <> input.fingerprint
)

select
    call_id,
    tool,
    round,
    coalesce(filtered_calls.is_kept, false) as is_kept,
    case
        when candidate_calls.reason is not null then 'sampling'
        when executed_calls.reason is not null then 'execution'
        when not filtered_calls.is_kept then 'filtering'
    end as dropped_by,
    coalesce(filtered_calls.reason, executed_calls.reason, candidate_calls.reason) as reason,
    substring(text, greatest(character_offset - 119, 1), least(character_offset, 120))
        as text_before,
    arguments,
    result,
    substring(text, character_offset + 1, 120) as text_after,
    title,
    candidate_calls.proposed,
    peeks,
    call_probability,
    loss_without_call,
    loss_call_without_result,
    loss_with_result,
    loss_with_swapped_result,
    loss_reduction,
    contrast,
    filtering_threshold,
    contrast_threshold,
    lowest_threshold,
    baseline,
    precision,
    is_in_chance_sample,
    swapped_call_id,
    tool_version,
    duration_ms,
    from_cache,
    message,
    sample_text,
    sample_index,
    document_id,
    candidate_calls.window_index,
    candidate_calls.position,
    character_offset,
    url,
    source,
    source_offset,
    shard
from candidate_calls
-- By all columns that say where a row is stored, so that a filter on one leaves out files.
left join (
    from executed_calls
    anti join (from replaced where table_name = 'executed_calls') using (shard, tool, round)
) as executed_calls using (call_id, shard, tool, round)
left join (
    from filtered_calls
    anti join (from replaced where table_name = 'filtered_calls') using (shard, tool, round)
) as filtered_calls using (call_id, shard, tool, round, document_id)
left join documents using (document_id, shard)
