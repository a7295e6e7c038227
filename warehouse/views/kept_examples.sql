-- Kept calls where they stand in their text.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   loss_reduction: by how much the result lowers the loss, in nats
--   text_before: up to 120 characters in front of the call
--   call: as it is written, with its result
--   text_after: up to 120 characters behind it
--   round: sampling round, from 1
--   contrast: by how much its own result helps more than another call's, in nats; NULL where all
--     calls of the tool have the same result
select
    filtered_calls.call_id,
    filtered_calls.tool,
    filtered_calls.loss_reduction,
    substring(
        documents.text,
        greatest(candidate_calls.character_offset - 119, 1),
        least(candidate_calls.character_offset, 120)
    ) as text_before,
    '[' || filtered_calls.tool || '(' || candidate_calls.arguments || ') -> '
    || executed_calls.result || ']' as call,
    substring(documents.text, candidate_calls.character_offset + 1, 120) as text_after,
    filtered_calls.round,
    filtered_calls.contrast
from filtered_calls
inner join candidate_calls on candidate_calls.call_id = filtered_calls.call_id
inner join executed_calls on executed_calls.call_id = filtered_calls.call_id
inner join documents on documents.document_id = candidate_calls.document_id
where filtered_calls.is_kept
order by filtered_calls.loss_reduction desc, filtered_calls.call_id
