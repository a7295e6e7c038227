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
--   median_ms: median, in milliseconds, at most 9 % too high
--   p95_ms: 95th percentile, in milliseconds, at most 9 % too high
--   slowest_ms: longest time, in milliseconds
--   round: sampling round, from 1
with
calls as (
    select
        tool,
        round,
        sum(calls)::bigint as calls,
        coalesce(sum(calls) filter (where status = 'failed'), 0)::bigint as failed,
        coalesce(sum(calls) filter (where from_cache), 0) / sum(calls) as from_cache_share,
        sum(milliseconds) filter (where not from_cache)
        / sum(calls) filter (where not from_cache) as mean_ms
    from execution_counts
    -- The tool was not asked.
    where reason is distinct from 'peeks'
    group by tool, round
),
bins as (
    select tool, round, latency_bin, sum(calls) as calls, max(slowest) as slowest
    from latency_counts
    group by all
),
ranked as (
    select
        *,
        sum(calls) over (partition by tool, round order by latency_bin) as until_here,
        sum(calls) over (partition by tool, round) as all_calls
    from bins
),
quantiles as (
    select
        tool,
        round,
        pow(2, min(latency_bin) filter (where until_here >= 0.5 * all_calls) / 8) as median_ms,
        pow(2, min(latency_bin) filter (where until_here >= 0.95 * all_calls) / 8) as p95_ms,
        max(slowest) as slowest_ms
    from ranked
    group by tool, round
)
select
    tool,
    calls,
    failed,
    from_cache_share,
    mean_ms,
    least(median_ms, slowest_ms) as median_ms,
    least(p95_ms, slowest_ms) as p95_ms,
    slowest_ms,
    round
from calls
left join quantiles using (tool, round)
order by round, tool
