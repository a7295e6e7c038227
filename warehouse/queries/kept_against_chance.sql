-- Number of calls that the filter kept per tool and round, and number of calls in the chance sample
-- that it would keep with swapped results.
--
-- Result: round, tool, filtering_threshold (nats, the highest in use), scored_calls, kept_calls,
-- chance_calls (size of the sample), and of the sample: chance_kept (kept with swapped results),
-- sample_kept (kept with their own results), both_kept (kept with either).
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
