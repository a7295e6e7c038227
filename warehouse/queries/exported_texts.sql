-- The windows of C* of a round, with their calls and their use in the training set; none where
-- that has no such window, or was not made yet.
select
    augmented_texts.document_id,
    augmented_texts.window_index,
    augmented_texts.shard,
    augmented_texts.round,
    augmented_texts.first_call_id,
    coalesce(training_texts.split, 'none') as split,
    augmented_texts.context,
    augmented_texts.text,
    augmented_texts.window_offset,
    augmented_texts.calls
from augmented_texts
left join training_texts
    on training_texts.document_id = augmented_texts.document_id
    and training_texts.window_index = augmented_texts.window_index
    -- A source that was edited, or other windows, put another text in its place.
    and training_texts.text = augmented_texts.text
where augmented_texts.round = $round
order by augmented_texts.shard, augmented_texts.document_id, augmented_texts.window_index
