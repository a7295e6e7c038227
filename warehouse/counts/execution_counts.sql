-- Calls of each shard that were given to their tool, by what came of them.
--
-- Result: shard, tool, round, status (executed, failed), reason (NULL for executed ones),
-- from_cache, calls, milliseconds (of the tool, all together).
select
    shard, tool, round, status, reason, from_cache,
    count(*) as calls,
    sum(duration_ms) as milliseconds
from executed_calls
group by all
