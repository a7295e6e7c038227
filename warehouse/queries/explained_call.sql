-- All that is stored of one sampled call, as far as it came.
--
-- Parameter: call_id. Result: one row; what a stage did not reach is NULL. `swapped_result` is
-- that of another call, which it was also scored with. From `model` on the columns are those of the
-- view `call_provenance`.
select
    candidate_calls.call_id,
    candidate_calls.tool,
    candidate_calls.shard,
    candidate_calls.round,
    candidate_calls.document_id,
    candidate_calls.window_index,
    candidate_calls.position,
    candidate_calls.character_offset,
    candidate_calls.call_probability,
    candidate_calls.sample_index,
    candidate_calls.proposed,
    candidate_calls.arguments,
    candidate_calls.sample_text,
    candidate_calls.status,
    candidate_calls.reason,
    documents.text,
    documents.title,
    documents.url,
    documents.source,
    documents.source_offset,
    executed_calls.status as execution_status,
    executed_calls.reason as execution_reason,
    executed_calls.message as execution_message,
    executed_calls.result,
    executed_calls.duration_ms,
    executed_calls.from_cache,
    executed_calls.tool_version,
    filtered_calls.loss_without_call,
    filtered_calls.loss_call_without_result,
    filtered_calls.loss_with_result,
    filtered_calls.loss_with_swapped_result,
    filtered_calls.loss_reduction,
    filtered_calls.is_kept,
    filtered_calls.reason as decision_reason,
    filtered_calls.filtering_threshold,
    filtered_calls.contrast_threshold,
    filtered_calls.baseline,
    filtered_calls.lowest_threshold,
    filtered_calls.precision,
    filtered_calls.contrast,
    filtered_calls.is_in_chance_sample,
    filtered_calls.swapped_call_id,
    others.result as swapped_result,
    call_provenance.model,
    call_provenance.prompt_digest,
    call_provenance.prompt,
    call_provenance.sampling_parts,
    call_provenance.execution_parts,
    call_provenance.scoring_parts,
    call_provenance.decision_parts,
    call_provenance.sampling_run,
    call_provenance.execution_run,
    call_provenance.decision_run,
    call_provenance.sampled_at,
    call_provenance.executed_at,
    call_provenance.decided_at
from candidate_calls
left join call_provenance on call_provenance.call_id = candidate_calls.call_id
left join documents on documents.document_id = candidate_calls.document_id
left join executed_calls on executed_calls.call_id = candidate_calls.call_id
left join filtered_calls on filtered_calls.call_id = candidate_calls.call_id
left join executed_calls as others on others.call_id = filtered_calls.swapped_call_id
where candidate_calls.call_id = $call_id
