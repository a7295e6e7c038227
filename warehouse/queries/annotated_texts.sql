-- A random sample of texts with kept calls, with all their calls, kept or dropped. It has at most
-- $texts texts per tool and round.
--
-- Result: document_id, window_index, round, shard, text (of the window), window_offset
-- (characters), title, url, published_on, place (number of the text in the sample, from 1), and for
-- each call call_id, tool, arguments, result (NULL if there is none), character_offset (in the
-- document), call_probability, proposed, loss_reduction (nats), is_kept, reason.
with tool_texts as (
    select distinct document_id, window_index, round, call.tool
    from (select document_id, window_index, round, unnest(calls) as call from augmented_texts)
),
drawn as (
    select document_id, window_index, round
    from tool_texts
    -- A digest makes the draw repeatable: reports of the same corpus show the same texts.
    qualify row_number() over (
        partition by tool, round order by md5(document_id || '#' || window_index)
    ) <= $texts
),
places as (
    select
        document_id,
        window_index,
        round,
        row_number() over (order by md5(document_id || '#' || window_index), round) as place
    from (select distinct * from drawn)
),
-- Each table is filtered first, since a join of the whole tables would hold most rows in memory.
sampled as materialized (
    select places.place, candidate_calls.*
    from candidate_calls
    inner join places
        on places.document_id = candidate_calls.document_id
        and places.window_index = candidate_calls.window_index
        and places.round = candidate_calls.round
    -- A sample that was not parsed as a call is not shown.
    where candidate_calls.arguments is not null
),
answered as (
    select call_id, result, reason from executed_calls
    where call_id in (select call_id from sampled)
),
decided as (
    select call_id, loss_reduction, is_kept, reason from filtered_calls
    where call_id in (select call_id from sampled)
),
written as (
    select document_id, title, url, published_on from documents
    where document_id in (select document_id from places)
)
select
    sampled.document_id,
    sampled.window_index,
    sampled.round,
    augmented_texts.shard,
    augmented_texts.text,
    augmented_texts.window_offset,
    written.title,
    written.url,
    written.published_on,
    sampled.place,
    sampled.call_id,
    sampled.tool,
    sampled.arguments,
    answered.result,
    sampled.character_offset,
    sampled.call_probability,
    sampled.proposed,
    decided.loss_reduction,
    coalesce(decided.is_kept, false) as is_kept,
    coalesce(decided.reason, answered.reason, sampled.reason) as reason
from sampled
inner join augmented_texts
    on augmented_texts.document_id = sampled.document_id
    and augmented_texts.window_index = sampled.window_index
    and augmented_texts.round = sampled.round
left join written on written.document_id = sampled.document_id
left join answered on answered.call_id = sampled.call_id
left join decided on decided.call_id = sampled.call_id
order by sampled.place, sampled.character_offset, sampled.call_id
