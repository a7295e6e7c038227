-- Origin of each sampled call, kept or not: its position in the corpus, and the models, settings
-- and runs that produced it.
--
-- Columns `*_parts` are JSON objects that name all inputs of a stage, settings included; their
-- values are JSON again.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   shard: key of the shard
--   round: annotation round, from 1
--   is_kept: whether the filter kept the call, as in all_calls
--   document_id: text that contains the call
--   window_index: window of the text, from 0
--   position: token of the window before which the call is inserted, from 0
--   character_offset: character offset of the call in the whole text, from 0
--   url: address of the text; NULL if the source has none
--   source: file or collection from which the text was read
--   source_offset: position of the record in the source, from 0
--   model: identity of the model that sampled and scored the call
--   bos_token: start token set in the settings; NULL if the model's own was used
--   prompt_digest: digest of the few-shot prompt; NULL if none was used
--   prompt: text of the few-shot prompt; NULL if none was used
--   tool_version: version of the tool that answered; NULL if no tool was asked
--   sampling_parts: inputs of the samples
--   execution_parts: inputs of the results
--   scoring_parts: inputs of the losses
--   decision_parts: inputs of the decision
--   sampling_run: Dagster run that sampled the call
--   execution_run: Dagster run that executed the call
--   decision_run: Dagster run that made the decision
--   sampled_at: time at which the partition of the sample was made (UTC, ISO 8601)
--   executed_at: time at which the partition of the result was made
--   decided_at: time at which the partition of the decision was made
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
