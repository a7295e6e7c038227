-- Every sampled call, kept or dropped, with its text, result and losses, and what became of it.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   round: sampling round, from 1
--   is_kept: the decision; NULL where the call was not scored
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
--   call_probability: p_i of its position
--   loss_without_call: in nats; this and the columns below are NULL for a call that was not scored
--   loss_call_without_result: in nats; NULL also where it was not needed, as are those below
--   loss_with_result: in nats
--   loss_with_swapped_result: in nats
--   loss_reduction: in nats
--   contrast: by how much its own result helps more than another call's, in nats
--   filtering_threshold: in nats
--   message: what the tool said of a call that it refused, or which words peek
--   sample_text: what was sampled or proposed
--   document_id: text that the call stands in
--   window_index: window of the text, from 0
--   position: token of the window that the call stands in front of, from 0
--   character_offset: the same place in the whole text, in characters from 0
--   shard: key of the shard
select
    candidate_calls.call_id,
    candidate_calls.tool,
    candidate_calls.round,
    filtered_calls.is_kept,
    case
        when candidate_calls.reason is not null then 'sampling'
        when executed_calls.reason is not null then 'execution'
        when not filtered_calls.is_kept then 'filtering'
    end as dropped_by,
    coalesce(filtered_calls.reason, executed_calls.reason, candidate_calls.reason) as reason,
    substring(
        documents.text,
        greatest(candidate_calls.character_offset - 119, 1),
        least(candidate_calls.character_offset, 120)
    ) as text_before,
    candidate_calls.arguments,
    executed_calls.result,
    substring(documents.text, candidate_calls.character_offset + 1, 120) as text_after,
    documents.title,
    candidate_calls.proposed,
    executed_calls.peeks,
    candidate_calls.call_probability,
    filtered_calls.loss_without_call,
    filtered_calls.loss_call_without_result,
    filtered_calls.loss_with_result,
    filtered_calls.loss_with_swapped_result,
    filtered_calls.loss_reduction,
    filtered_calls.contrast,
    filtered_calls.filtering_threshold,
    executed_calls.message,
    candidate_calls.sample_text,
    candidate_calls.document_id,
    candidate_calls.window_index,
    candidate_calls.position,
    candidate_calls.character_offset,
    candidate_calls.shard
from candidate_calls
left join executed_calls on executed_calls.call_id = candidate_calls.call_id
left join filtered_calls on filtered_calls.call_id = candidate_calls.call_id
left join documents on documents.document_id = candidate_calls.document_id
