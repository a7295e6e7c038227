-- What the filter kept of each tool's calls in each round, and what the same decisions keep of the
-- chance sample with swapped results.
--
-- Result: round, tool, filtering_threshold (nats, the highest in force), scored_calls, kept_calls,
-- chance_calls (the sample), and of these chance_kept, both_kept (also with their own results),
-- sample_kept (with their own results).
select
    round,
    tool,
    max(filtering_threshold) as filtering_threshold,
    sum(calls)::bigint as scored_calls,
    coalesce(sum(calls) filter (where reason = 'kept'), 0)::bigint as kept_calls,
    coalesce(sum(calls) filter (where is_kept_by_chance is not null), 0)::bigint as chance_calls,
    coalesce(sum(calls) filter (where is_kept_by_chance), 0)::bigint as chance_kept,
    coalesce(sum(calls) filter (where is_kept_by_chance and reason = 'kept'), 0)::bigint
        as both_kept,
    coalesce(
        sum(calls) filter (where is_kept_by_chance is not null and reason = 'kept'), 0
    )::bigint as sample_kept
from decision_counts
group by round, tool
order by round, tool
