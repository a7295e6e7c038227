-- Number of calls and texts that other filtering thresholds would keep, and how many by chance.
--
-- The closer chance_share is to kept_share, the less the threshold separates. The view has the
-- three thresholds of the paper's table 2 and all that were used in the round, but none below
-- scoring.lowest_threshold, since losses are missing there. A contrast threshold in use applies to
-- all of them. Counts of a threshold that is above 10 or not a multiple of 0.01 are NULL, unless it
-- decided on all shards.
--
-- Columns:
--   tool: name of the tool
--   filtering_threshold: smallest loss reduction that keeps a call, in nats
--   kept_calls: number of calls that the threshold keeps
--   kept_texts: number of windows with at least one such call
--   scored_calls: number of all scored calls
--   kept_share: kept_calls / scored_calls
--   chance_calls: number of calls that were also scored with another call's result
--   chance_share: share of these that the threshold keeps with that result; NULL if there are none
--   round: annotation round, from 1
with
tools as (
    select
        tool,
        round,
        max(lowest_threshold) as lowest_threshold,
        sum(calls)::bigint as scored_calls,
        coalesce(sum(calls) filter (where reason = 'kept'), 0)::bigint as kept_calls,
        coalesce(sum(calls) filter (where is_kept_by_chance is not null), 0)::bigint
            as chance_calls,
        coalesce(sum(calls) filter (where is_kept_by_chance), 0)::bigint as chance_kept,
        -- NULL if different thresholds decided on the shards.
        case
            when min(filtering_threshold) = max(filtering_threshold) then min(filtering_threshold)
        end as only_threshold
    from decision_counts
    group by tool, round
),
texts as (
    select tool, round, sum(kept_texts)::bigint as kept_texts from kept_counts group by tool, round
),
thresholds as (
    select tool, round, unnest(sweep_thresholds()) as filtering_threshold from tools
    union
    select tool, round, filtering_threshold from decision_counts
),
reached as (
    select
        thresholds.tool,
        thresholds.round,
        thresholds.filtering_threshold,
        coalesce(sum(calls), 0)::bigint as kept_calls,
        coalesce(sum(texts), 0)::bigint as kept_texts,
        coalesce(sum(chance_calls), 0)::bigint as chance_kept
    from thresholds
    left join loss_reductions as reductions
        on reductions.tool = thresholds.tool
        and reductions.round = thresholds.round
        and reductions.reduction_bin >= threshold_bin(thresholds.filtering_threshold)
    where threshold_bin(thresholds.filtering_threshold) is not null
    group by all
    union all
    select tool, round, only_threshold, kept_calls, coalesce(kept_texts, 0), chance_kept
    from tools
    left join texts using (tool, round)
    where threshold_bin(only_threshold) is null and only_threshold is not null
)
select
    tool,
    filtering_threshold,
    reached.kept_calls,
    reached.kept_texts,
    tools.scored_calls,
    reached.kept_calls / tools.scored_calls as kept_share,
    tools.chance_calls,
    reached.chance_kept / nullif(tools.chance_calls, 0) as chance_share,
    round
from thresholds
inner join tools using (tool, round)
left join reached using (tool, round, filtering_threshold)
where reaches(filtering_threshold, tools.lowest_threshold)
order by round, tool, filtering_threshold
