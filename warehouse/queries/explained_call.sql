-- All stored data about one sampled call.
--
-- Parameter: call_id. Result: one row with the columns of the view `all_calls`, but the whole text
-- instead of text_before and text_after; `swapped_result`, the other call's result with which it
-- was also scored; and the columns of the view `call_provenance` from `model` on. Columns of stages
-- that the call did not reach are NULL.
select
    all_calls.* exclude (text_before, text_after),
    documents.text,
    others.result as swapped_result,
    call_provenance.* exclude (
        call_id, tool, shard, round, is_kept, document_id, window_index, position, character_offset,
        url, source, source_offset, tool_version
    )
from all_calls
inner join call_provenance using (call_id, shard)
left join documents on documents.document_id = all_calls.document_id
left join executed_calls as others on others.call_id = all_calls.swapped_call_id
where all_calls.call_id = $call_id
