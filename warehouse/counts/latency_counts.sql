-- Calls of each shard by how long the tool took, those answered from the cache and those that it
-- was not asked left out.
--
-- Result: shard, tool, round, latency_bin (`latency_bin(ms)`, eight to a doubling), calls, slowest
-- (milliseconds).
select
    shard, tool, round,
    latency_bin(duration_ms) as latency_bin,
    count(*) as calls,
    max(duration_ms) as slowest
from executed_calls
where not from_cache and reason is distinct from 'peeks'
group by all
