-- What the filter kept of each tool's calls in each round, and what the same decisions would keep
-- of the chance sample with the result of another call.
--
-- A contrast compares that result with a second one, so calls without a second one do not count
-- where a contrast is asked for.
--
-- Result: round, tool, filtering_threshold (nats, the highest in force), scored_calls, kept_calls,
-- chance_calls (the sample), and of these chance_kept, both_kept (also with their own results),
-- sample_kept (with their own results).
with decided as (
    select
        round,
        tool,
        max(filtering_threshold) as filtering_threshold,
        sum(calls)::bigint as scored_calls,
        coalesce(sum(calls) filter (where reason = 'kept'), 0)::bigint as kept_calls
    from decision_counts
    group by round, tool
),
sampled as (
    select
        chance_calls.round,
        chance_calls.tool,
        filtered_calls.is_kept,
        chance_calls.reason = 'scored'
        and reaches(chance_calls.loss_reduction, filtered_calls.filtering_threshold)
        and (
            filtered_calls.contrast_threshold is null
            or coalesce(
                reaches(
                    chance_calls.loss_with_second_result - chance_calls.loss_with_result,
                    filtered_calls.contrast_threshold
                ),
                false
            )
        ) as is_kept_by_chance
    from chance_calls
    inner join filtered_calls using (call_id)
    where filtered_calls.contrast_threshold is null or chance_calls.second_call_id is not null
),
by_chance as (
    select
        round,
        tool,
        count(*) as chance_calls,
        count(*) filter (where is_kept_by_chance) as chance_kept,
        count(*) filter (where is_kept_by_chance and is_kept) as both_kept,
        count(*) filter (where is_kept) as sample_kept
    from sampled
    group by round, tool
)
select
    round,
    tool,
    filtering_threshold,
    scored_calls,
    kept_calls,
    coalesce(chance_calls, 0) as chance_calls,
    coalesce(chance_kept, 0) as chance_kept,
    coalesce(both_kept, 0) as both_kept,
    coalesce(sample_kept, 0) as sample_kept
from decided
left join by_chance using (round, tool)
order by round, tool
