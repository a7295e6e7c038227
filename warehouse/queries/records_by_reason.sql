-- What became of the records that were read.
-- Result: reason (NULL for those that became texts), records.
select null as reason, count(distinct (source, source_offset)) as records from documents
union all
select reason, count(*) from rejected_records group by reason
