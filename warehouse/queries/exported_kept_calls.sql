-- The kept calls of a round with their losses, for the tools in C*. The column is_merged is true
-- for calls in C*, at most one per position.
with merged as (
    select unnest(calls, recursive := true) from augmented_texts where round = $round
)
select
    call_id,
    document_id,
    window_index,
    shard,
    round,
    tool,
    arguments,
    result,
    position,
    character_offset,
    call_probability,
    loss_without_call,
    loss_call_without_result,
    loss_with_result,
    loss_with_swapped_result,
    loss_reduction,
    filtering_threshold,
    contrast_threshold,
    baseline,
    precision,
    tool_version,
    call_id in (select call_id from merged) as is_merged
from all_calls
where is_kept and round = $round and result is not null and tool in (select tool from merged)
order by shard, document_id, window_index, position, tool, call_id
