-- Number of windows and documents with kept calls, per shard, tool and round.
--
-- Result: shard, tool, round, kept_texts (windows with at least one kept call), kept_documents.
select
    shard, tool, round,
    count(distinct (document_id, window_index)) as kept_texts,
    count(distinct document_id) as kept_documents
from filtered_calls
where is_kept
group by all
