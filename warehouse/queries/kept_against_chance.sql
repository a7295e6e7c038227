-- What the filter kept of each tool's calls in each round, and what it would keep by chance, at the
-- newest threshold in force.
--
-- Result: round, tool, filtering_threshold (nats), scored_calls, kept_calls, chance_calls (scored
-- with the result of another call), chance_kept (of these, at that threshold).
with in_force as (
    select tool, round, max(filtering_threshold) as filtering_threshold
    from decision_counts
    group by tool, round
)
select
    threshold_sweep.round,
    threshold_sweep.tool,
    threshold_sweep.filtering_threshold,
    scored_calls,
    kept_calls,
    chance_calls,
    coalesce(round(chance_share * chance_calls), 0)::bigint as chance_kept
from threshold_sweep
inner join in_force using (tool, round, filtering_threshold)
order by threshold_sweep.round, threshold_sweep.tool
