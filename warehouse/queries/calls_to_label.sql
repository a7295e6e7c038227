-- Calls of C* for people to judge, in the order of a draw that is the same for everybody: of each
-- tool at most $per_tool, the tools in turn.
--
-- Result: call_id, document_id, tool, arguments, result, loss_reduction (nats), text_before,
-- text_after, round.
with drawn as (
    select document_id, call.tool, call.call_id, max(round) as round,
        -- A digest as the draw: high loss reductions come no sooner than low ones.
        row_number() over (partition by call.tool order by md5(call.call_id)) as place
    from (select document_id, round, unnest(calls) as call from augmented_texts)
    group by document_id, call.tool, call.call_id
    qualify place <= $per_tool
)
select
    call_id, document_id, tool, arguments, result, loss_reduction,
    substring(text, greatest(character_offset - 599, 1), least(character_offset, 600))
        as text_before,
    substring(text, character_offset + 1, 300) as text_after,
    round
from (
    select document_id, text, round, unnest(calls, recursive := true) from augmented_texts
    where document_id in (select document_id from drawn)
) as calls
inner join drawn using (document_id, tool, call_id, round)
order by place, tool
