-- Kept calls where they stand in their text.
--
-- Result: call_id, tool, loss_reduction (nats), text_before, call, text_after, round, contrast
-- (nats; how much more its own result helps than another call's, NULL where no contrast was asked
-- for); up to 120 characters on each side.
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
    filtered_calls.loss_with_foreign_result - filtered_calls.loss_with_result as contrast
from filtered_calls
inner join candidate_calls on candidate_calls.call_id = filtered_calls.call_id
inner join executed_calls on executed_calls.call_id = filtered_calls.call_id
inner join documents on documents.document_id = candidate_calls.document_id
where filtered_calls.is_kept
order by filtered_calls.loss_reduction desc, filtered_calls.call_id
