-- The shards that may have sampled calls whose ids begin with a text.
--
-- Parameter: beginning. Result: shard.
select distinct shard
from call_beginnings
where coalesce(contains(' ' || beginnings, ' ' || left($beginning, 4)), true)
