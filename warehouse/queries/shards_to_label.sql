-- The shards that have all calls for people to judge: of each tool a call that comes behind the
-- first ones of $per_tool shards is none of them.
--
-- Parameter: per_tool. Result: shard.
select distinct shard
from label_draws
qualify dense_rank() over (partition by tool order by first_draw) <= $per_tool
