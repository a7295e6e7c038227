-- How many calls and texts other filtering thresholds would keep, and how many by chance.
--
-- The nearer chance_share is to kept_share, the less the threshold separates. Thresholds: the three
-- of the paper's table 2 and every one that was used in the sampling round, none below
-- scoring.lowest_threshold, where losses are missing. A contrast threshold in force holds at each of
-- them. Of thresholds above 10, or that are no multiple of 0.01, the counts are known only where all
-- shards were decided on with them; they are NULL else.
--
-- Columns:
--   tool: name of the tool
--   filtering_threshold: in nats
--   kept_calls: calls that reach it
--   kept_texts: windows with at least one such call
--   scored_calls: all calls given to the loss filter
--   kept_share: kept_calls of scored_calls
--   chance_calls: calls that were also scored with the result of another call
--   chance_share: share of these that would be kept so; NULL without any
--   round: sampling round, from 1
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
        -- NULL where shards were decided on with several.
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
