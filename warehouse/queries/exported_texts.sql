-- The windows of C* in a round, with their calls and their split in the training set. The split is
-- `none` if the training set lacks the window or does not exist yet.
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
    -- After an edit of the source or of window lengths, the same keys can have another text.
    and training_texts.text = augmented_texts.text
where augmented_texts.round = $round
order by augmented_texts.shard, augmented_texts.document_id, augmented_texts.window_index
