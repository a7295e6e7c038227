-- Candidate calls of each shard, by what came of them when they were to be executed.
--
-- Result: shard, tool, round, status (executed, failed), reason (NULL for executed ones), peeks,
-- from_cache, calls, milliseconds (of the tool, all together).
select
    shard, tool, round, status, reason, peeks, from_cache,
    count(*) as calls,
    sum(duration_ms) as milliseconds
from executed_calls
group by all
