-- What a tool answered to the calls in some texts, with all that it knew of each text; of a call
-- that was made several times the answers come first.
--
-- Parameters: tool, round, document_ids.
select
    candidate_calls.arguments,
    candidate_calls.character_offset,
    documents.document_id,
    documents.text,
    documents.url,
    documents.title,
    documents.published_on,
    executed_calls.status,
    executed_calls.result,
    executed_calls.reason,
    executed_calls.repeated_before,
    executed_calls.repeated_after,
    executed_calls.message,
    executed_calls.peeks
from executed_calls
join candidate_calls using (call_id)
join documents on documents.document_id = candidate_calls.document_id
where executed_calls.tool = $tool
    and executed_calls.round = $round
    and list_contains($document_ids, candidate_calls.document_id)
order by executed_calls.result is null
