-- What there is: texts, and what came of them in each round.
--
-- Result: one row: documents, shards, rejected_records, candidate_calls, kept_calls, kept_texts
-- (windows of C*, each round counted), rounds.
select
    (select count(*) from documents) as documents,
    (select count(distinct shard) from documents) as shards,
    (select count(*) from rejected_records) as rejected_records,
    (select count(*) from candidate_calls where status = 'parsed') as candidate_calls,
    (select count(*) from filtered_calls where is_kept) as kept_calls,
    (select count(*) from augmented_texts) as kept_texts,
    (select count(distinct round) from filtered_calls) as rounds
