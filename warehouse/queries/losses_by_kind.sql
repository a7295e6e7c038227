-- Number of losses between records and documents by kind, the most frequent first.
--
-- Result: kind, name (of the column if the kind is unread_columns, otherwise empty), count.
select kind, name, sum(count)::bigint as count
from loss_counts
group by kind, name
order by count desc, kind, name
