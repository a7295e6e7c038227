-- The shards that contain all calls for people to judge. $per_tool shards per tool suffice: every
-- other shard's first call comes after $per_tool calls in the order of the draw.
--
-- Parameter: per_tool. Result: shard.
select distinct shard
from label_draws
qualify dense_rank() over (partition by tool order by first_draw) <= $per_tool
