-- Texts with kept calls, drawn at random, with all their calls: the kept ones and the dropped ones.
-- Of each tool and round at most $texts of the texts that it has a kept call in.
--
-- Result: document_id, window_index, round, shard, text (of the window), window_offset (characters),
-- title, url, published_on, place (of the text in the draw, from 1), and of each call call_id, tool,
-- arguments, result (NULL where there is none), character_offset (in the document),
-- call_probability, loss_reduction (nats), is_kept, reason.
with tool_texts as (
    select distinct document_id, window_index, round, call.tool
    from (select document_id, window_index, round, unnest(calls) as call from augmented_texts)
),
drawn as (
    select document_id, window_index, round
    from tool_texts
    -- A digest as the draw: the same texts in each report of the same corpus.
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
)
select
    places.document_id,
    places.window_index,
    places.round,
    augmented_texts.shard,
    augmented_texts.text,
    augmented_texts.window_offset,
    documents.title,
    documents.url,
    documents.published_on,
    places.place,
    candidate_calls.call_id,
    candidate_calls.tool,
    candidate_calls.arguments,
    executed_calls.result,
    candidate_calls.character_offset,
    candidate_calls.call_probability,
    filtered_calls.loss_reduction,
    coalesce(filtered_calls.is_kept, false) as is_kept,
    coalesce(filtered_calls.reason, executed_calls.reason, candidate_calls.reason) as reason
from places
inner join augmented_texts
    on augmented_texts.document_id = places.document_id
    and augmented_texts.window_index = places.window_index
    and augmented_texts.round = places.round
inner join candidate_calls
    on candidate_calls.document_id = places.document_id
    and candidate_calls.window_index = places.window_index
    and candidate_calls.round = places.round
left join documents on documents.document_id = places.document_id
left join executed_calls on executed_calls.call_id = candidate_calls.call_id
left join filtered_calls on filtered_calls.call_id = candidate_calls.call_id
-- A sample that is no call has nothing to show.
where candidate_calls.arguments is not null
order by places.place, candidate_calls.character_offset, candidate_calls.call_id
