-- Every sampled call, kept or dropped, with its text, its result, its losses and the decision.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   round: annotation round, from 1
--   is_kept: whether the filter kept the call; false also for calls that were never scored
--   dropped_by: stage that dropped the call: sampling, execution or filtering; NULL if it was kept
--     or if the next stage has yet to run
--   reason: reason why the call was dropped or kept, one snake_case word
--   text_before: up to 120 characters before the call
--   arguments: arguments of the call; NULL if the sample could not be parsed
--   result: result of the tool; NULL if there is none
--   text_after: up to 120 characters after the call
--   title: title of the text; NULL if the source has none
--   proposed: what the tool proposed: nothing (none), the position or the whole call
--   peeks: whether the arguments contain a number or name that the text has only after the call;
--     NULL if the sample is not a candidate
--   call_probability: probability p_i of the position; NULL if all positions that the tool proposed
--     were used
--   loss_without_call: loss without a call, in nats; NULL, like all columns down to
--     swapped_call_id, if the call was not scored
--   loss_call_without_result: loss with the call but without its result, in nats; NULL if not
--     needed
--   loss_with_result: loss with call and result, in nats; NULL if not needed
--   loss_with_swapped_result: loss with another call's result, in nats; NULL if not needed
--   loss_reduction: loss reduction in nats; an upper bound if the reason ends with
--     below_lowest_threshold
--   contrast: how much more the call's own result helps than another call's, in nats
--   filtering_threshold: smallest loss reduction that keeps a call, in nats
--   contrast_threshold: smallest contrast that keeps a call, in nats
--   lowest_threshold: loss reduction below which further losses were not computed, in nats
--   baseline: loss with which loss_with_result is compared: minimum or without_call
--   precision: floating-point format in which the losses were computed
--   is_in_chance_sample: whether the call is in the chance sample
--   swapped_call_id: call that gave the swapped result
--   tool_version: version of the tool that answered; NULL, like all columns down to message, if no
--     tool was asked
--   duration_ms: time that the tool took, in milliseconds
--   from_cache: whether the answer came from the cache of earlier calls
--   message: message of the tool about a refused call, or the words that peek
--   sample_text: text that was sampled or proposed
--   sample_index: number of the sample at its position, from 0
--   document_id: text that contains the call
--   window_index: window of the text, from 0
--   position: token of the window before which the call is inserted, from 0
--   character_offset: character offset of the call in the whole text, from 0
--   url: address of the text; NULL if the source has none
--   source: file or collection from which the text was read
--   source_offset: position of the record in the source, from 0
--   shard: key of the shard
with replaced as (
    -- Partitions whose inputs were replaced later, because a build was stopped or is running. Their
    -- results and decisions belong to earlier calls.
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
-- Joined by all columns that determine the file of a row, so that a filter on one skips files.
left join (
    from executed_calls
    anti join (from replaced where table_name = 'executed_calls') using (shard, tool, round)
) as executed_calls using (call_id, shard, tool, round)
left join (
    from filtered_calls
    anti join (from replaced where table_name = 'filtered_calls') using (shard, tool, round)
) as filtered_calls using (call_id, shard, tool, round, document_id)
left join documents using (document_id, shard)
