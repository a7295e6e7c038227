-- Where each sampled call comes from, kept or not: its place in the corpus, and what made it.
--
-- Result:
--   call_id, tool, shard, round; is_kept (NULL where the call was not scored);
--   document_id, window_index, position, character_offset, url, source, source_offset: the place,
--     as in candidate_calls and documents;
--   model: identity of the model that sampled and scored it; bos_token (NULL for the default);
--   prompt_digest, prompt: the few-shot prompt and its text (both NULL where none was shown; the
--     text also where an earlier release sampled, which did not store it);
--   tool_version: of the tool that answered;
--   sampling_parts, execution_parts, scoring_parts, decision_parts: what the stage's rows were
--     computed from, settings included (JSON whose values are JSON; earlier releases stored no
--     scoring_parts);
--   sampling_run, execution_run, decision_run: the runs of Dagster (NULL of earlier releases);
--   sampled_at, executed_at, decided_at: when their slices were made (UTC, ISO 8601).
select
    candidate_calls.call_id,
    candidate_calls.tool,
    candidate_calls.shard,
    candidate_calls.round,
    filtered_calls.is_kept,
    candidate_calls.document_id,
    candidate_calls.window_index,
    candidate_calls.position,
    candidate_calls.character_offset,
    documents.url,
    documents.source,
    documents.source_offset,
    (sampling.parts ->> 'language_model') ->> '$[0]' as model,
    (sampling.parts ->> 'language_model') ->> '$[1]' as bos_token,
    (sampling.parts ->> 'prompt') ->> '$' as prompt_digest,
    prompts.text as prompt,
    executed_calls.tool_version,
    sampling.parts as sampling_parts,
    execution.parts as execution_parts,
    decision.metadata ->> 'losses_parts' as scoring_parts,
    decision.parts as decision_parts,
    sampling.run as sampling_run,
    execution.run as execution_run,
    decision.run as decision_run,
    sampling.made_at as sampled_at,
    execution.made_at as executed_at,
    decision.made_at as decided_at
from (
    select
        *,
        if(round = 1, tool, 'round-' || round || '.' || tool) as slice
    from candidate_calls
) as candidate_calls
left join documents on documents.document_id = candidate_calls.document_id
left join executed_calls on executed_calls.call_id = candidate_calls.call_id
left join filtered_calls on filtered_calls.call_id = candidate_calls.call_id
left join slice_metadata as sampling
    on sampling.table_name = 'candidate_calls'
    and sampling.shard = candidate_calls.shard
    and sampling.slice = candidate_calls.slice
left join slice_metadata as execution
    on executed_calls.call_id is not null
    and execution.table_name = 'executed_calls'
    and execution.shard = candidate_calls.shard
    and execution.slice = candidate_calls.slice
left join slice_metadata as decision
    on filtered_calls.call_id is not null
    and decision.table_name = 'filtered_calls'
    and decision.shard = candidate_calls.shard
    and decision.slice = candidate_calls.slice
left join prompts on prompts.digest = ((sampling.parts ->> 'prompt') ->> '$')
