-- Number of candidate calls per shard, tool, round and outcome of execution.
--
-- Result: shard, tool, round, status (executed, failed), reason (NULL if executed), peeks,
-- from_cache, calls, milliseconds (total time of the tool).
select
    shard, tool, round, status, reason, peeks, from_cache,
    count(*) as calls,
    sum(duration_ms) as milliseconds
from executed_calls
group by all
