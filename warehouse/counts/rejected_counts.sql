-- Records of each shard that gave no text, by reason.
--
-- Result: shard, reason, records.
select shard, reason, count(*) as records
from rejected_records
group by all
