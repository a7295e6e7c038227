-- How long each tool takes for a call, and how many of its answers come from the cache.
--
-- Times are those of the calls that the tool itself answered; NULL where all came from the cache. A
-- tool that is given many calls at once answers them together: then each has its share of the time.
--
-- Columns:
--   tool: name of the tool
--   calls: given to the tool
--   failed: of these, without a result
--   from_cache_share: share of the calls whose answer was in the cache
--   mean_ms: mean time, in milliseconds
--   median_ms: median, in milliseconds
--   p95_ms: 95th percentile, in milliseconds
--   slowest_ms: longest time, in milliseconds
--   round: sampling round, from 1
select
    tool,
    count(*) as calls,
    count(*) filter (where status = 'failed') as failed,
    avg(from_cache::integer) as from_cache_share,
    avg(duration_ms) filter (where not from_cache) as mean_ms,
    median(duration_ms) filter (where not from_cache) as median_ms,
    quantile_cont(duration_ms, 0.95) filter (where not from_cache) as p95_ms,
    max(duration_ms) filter (where not from_cache) as slowest_ms,
    round
from executed_calls
-- The tool was asked.
where reason is distinct from 'peeks'
group by tool, round
order by round, tool
