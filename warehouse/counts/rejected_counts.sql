-- Number of rejected records per shard and reason.
--
-- Result: shard, reason, records.
select shard, reason, count(*) as records
from rejected_records
group by all
