-- Calls of C* for people to judge, in a random order that is the same for everyone: at most
-- $per_tool per tool, with tools alternating, and the calls in $call_ids.
--
-- Result: call_id, document_id, tool, arguments, result, text_before, text_after, round, and id.
-- The id begins with a letter, so that no spreadsheet reads it as a number, and ends with a digest
-- of the columns that a person sees.
with drawn as (
    select document_id, call.tool, call.call_id, max(round) as round,
        -- The order of digests is independent of the loss reduction.
        row_number() over (partition by call.tool order by md5(call.call_id)) as place
    from (select document_id, round, unnest(calls) as call from augmented_texts)
    group by document_id, call.tool, call.call_id
    qualify place <= $per_tool or list_contains($call_ids, call.call_id)
)
select
    call_id, document_id, tool, arguments, result,
    substring(text, greatest(character_offset - 599, 1), least(character_offset, 600))
        as text_before,
    substring(text, character_offset + 1, 300) as text_after,
    round,
    'call-' || call_id || '-'
    || left(md5(to_json([tool, arguments, result, text_before, text_after])), 8) as id
from (
    select document_id, text, round, unnest(calls, recursive := true) from augmented_texts
    where document_id in (select document_id from drawn)
) as calls
inner join drawn using (document_id, tool, call_id, round)
order by place, tool
