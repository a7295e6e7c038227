-- The shards that may have sampled calls whose ids have a given prefix.
--
-- Parameter: beginning. Result: shard.
select distinct shard
from call_beginnings
where coalesce(contains(' ' || beginnings, ' ' || left($beginning, 4)), true)
