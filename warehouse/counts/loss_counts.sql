-- What the records of each shard hold and its documents do not.
--
-- Result: shard, kind, name (of a column that nothing reads, else empty), count.
select shard, kind, name, sum(count)::bigint as count
from reading_losses
group by all
