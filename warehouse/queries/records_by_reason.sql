-- What became of the records that were read.
--
-- Result: reason (NULL for those that became texts), records.
select null as reason, coalesce(sum(documents), 0)::bigint as records from document_counts
union all
select reason, sum(records)::bigint from rejected_counts group by reason
