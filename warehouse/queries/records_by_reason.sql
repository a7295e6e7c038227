-- Number of records that were read, by reason of rejection.
--
-- Result: reason (NULL for records that became texts), records.
select null as reason, coalesce(sum(documents), 0)::bigint as records from document_counts
union all
select reason, sum(records)::bigint from rejected_counts group by reason
