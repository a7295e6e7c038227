-- Number of texts in the corpus, and of calls in all rounds.
--
-- Result: one row: documents, shards, rejected_records, candidate_calls, kept_calls, kept_by_model
-- (kept calls whose arguments the model wrote), kept_texts (windows of C*, counted once per round),
-- rounds.
select
    (select coalesce(sum(documents), 0) from document_counts)::bigint as documents,
    (select count(*) from document_counts) as shards,
    (select coalesce(sum(records), 0) from rejected_counts)::bigint as rejected_records,
    (select coalesce(sum(calls), 0) from candidate_counts where status = 'parsed')::bigint
        as candidate_calls,
    (select coalesce(sum(calls), 0) from decision_counts where reason = 'kept')::bigint
        as kept_calls,
    (
        select coalesce(sum(calls), 0) from decision_counts
        where reason = 'kept' and proposed <> 'call'
    )::bigint as kept_by_model,
    (select coalesce(sum(texts), 0) from augmented_counts)::bigint as kept_texts,
    (select count(distinct round) from decision_counts) as rounds
