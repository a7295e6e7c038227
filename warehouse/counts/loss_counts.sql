-- Number of losses between records and documents, per shard and kind.
--
-- Result: shard, kind, name (of the column if the kind is unread_columns, otherwise empty), count.
select shard, kind, name, sum(count)::bigint as count
from reading_losses
group by all
