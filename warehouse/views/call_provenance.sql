-- Where each sampled call comes from, kept or not: its place in the corpus, and what made it.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   shard: key of the shard
--   round: sampling round, from 1
--   is_kept: whether it was kept, as in all_calls
--   document_id: text that the call stands in
--   window_index: window of the text, from 0
--   position: token of the window that the call stands in front of, from 0
--   character_offset: the same place in the whole text, in characters from 0
--   url: address of the text, if the source has one
--   source: file or collection that the text was read out of
--   source_offset: which record of the source, from 0
--   model: identity of the model that sampled and scored the call
--   bos_token: token that the settings put in front of texts; NULL for the model's own
--   prompt_digest: the few-shot prompt; NULL where none was shown
--   prompt: its text; NULL where none was shown
--   tool_version: version of the tool that answered; NULL where none was asked
--   sampling_parts: what the samples were computed from, settings included (JSON whose values are
--     JSON)
--   execution_parts: what the results were computed from, settings included (JSON whose values are
--     JSON)
--   scoring_parts: what the losses were computed from, settings included (JSON whose values are
--     JSON)
--   decision_parts: what the decision was computed from, settings included (JSON whose values are
--     JSON)
--   sampling_run: run of Dagster that sampled
--   execution_run: run that executed
--   decision_run: run that decided
--   sampled_at: when the partition of the sample was made (UTC, ISO 8601)
--   executed_at: when the partition of the result was made
--   decided_at: when the partition of the decision was made
select
    call_id,
    calls.tool,
    calls.shard,
    calls.round,
    is_kept,
    calls.document_id,
    calls.window_index,
    calls.position,
    character_offset,
    url,
    source,
    source_offset,
    (sampling.parts ->> 'language_model') ->> '$[0]' as model,
    (sampling.parts ->> 'language_model') ->> '$[1]' as bos_token,
    (sampling.parts ->> 'prompt') ->> '$' as prompt_digest,
    prompts.text as prompt,
    tool_version,
    sampling.parts as sampling_parts,
    execution.parts as execution_parts,
    scoring.parts as scoring_parts,
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
        case when round = 1 then tool else 'round-' || round || '.' || tool end as partition
    from all_calls
) as calls
left join scored_calls using (call_id, shard, tool, round)
left join partition_metadata as sampling
    on sampling.table_name = 'candidate_calls'
    and sampling.shard = calls.shard
    and sampling.partition = calls.partition
left join partition_metadata as execution
    on tool_version is not null
    and execution.table_name = 'executed_calls'
    and execution.shard = calls.shard
    and execution.partition = calls.partition
left join partition_metadata as scoring
    on scored_calls.call_id is not null
    and scoring.table_name = 'scored_calls'
    and scoring.shard = calls.shard
    and scoring.partition = calls.partition
left join partition_metadata as decision
    on filtering_threshold is not null
    and decision.table_name = 'filtered_calls'
    and decision.shard = calls.shard
    and decision.partition = calls.partition
left join prompts on prompts.digest = ((sampling.parts ->> 'prompt') ->> '$')
