-- All that is stored of one sampled call, as far as it came.
--
-- Parameter: call_id. Result: one row with the columns of the view `all_calls`, the whole text in
-- place of its parts; `swapped_result`, of another call, which it was also scored with; and from
-- `model` on the columns of the view `call_provenance`. What a stage did not reach is NULL.
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
