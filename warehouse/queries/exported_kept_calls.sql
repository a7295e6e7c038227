-- The kept calls of a round with their losses; is_merged tells those that stand in C*, at most one
-- per position.
with merged as (
    select unnest(calls).call_id as call_id from augmented_texts where round = $round
)
select
    filtered_calls.call_id,
    candidate_calls.document_id,
    candidate_calls.window_index,
    filtered_calls.shard,
    filtered_calls.round,
    filtered_calls.tool,
    candidate_calls.arguments,
    executed_calls.result,
    candidate_calls.position,
    candidate_calls.character_offset,
    candidate_calls.call_probability,
    filtered_calls.loss_without_call,
    filtered_calls.loss_call_without_result,
    filtered_calls.loss_with_result,
    filtered_calls.loss_with_swapped_result,
    filtered_calls.loss_reduction,
    filtered_calls.filtering_threshold,
    filtered_calls.contrast_threshold,
    filtered_calls.baseline,
    filtered_calls.precision,
    executed_calls.tool_version,
    filtered_calls.call_id in (select call_id from merged) as is_merged
from filtered_calls
inner join candidate_calls on candidate_calls.call_id = filtered_calls.call_id
inner join executed_calls on executed_calls.call_id = filtered_calls.call_id
where filtered_calls.is_kept and filtered_calls.round = $round
order by
    filtered_calls.shard, candidate_calls.document_id, candidate_calls.window_index,
    candidate_calls.position, filtered_calls.tool, filtered_calls.call_id
