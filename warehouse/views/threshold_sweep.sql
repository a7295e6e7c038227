-- How many calls and texts other filtering thresholds would keep, and how many by chance.
--
-- The nearer chance_share is to kept_share, the less the threshold separates. Thresholds: the three
-- of the paper's table 2 and every one that was used in the sampling round. Below the pruning
-- threshold losses are missing, so nothing is shown there. Where a tool has a contrast threshold,
-- kept_calls and kept_texts are of the calls that reach it too; below the filtering threshold no
-- contrast is known, so nothing is shown there either. chance_share is held to the same contrast.
-- The tolerance is that of the filter itself. Of thresholds that are no multiple of 0.01 the counts are
-- known only where all shards were decided on with them, chance_share never; they are NULL else.
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
--   round: of annotation, from 1
with
tools as (
    select
        tool,
        round,
        max(
            greatest(pruning_threshold, if(contrast_threshold is null, null, filtering_threshold))
        ) as lowest_threshold,
        max(contrast_threshold) as contrast_threshold,
        sum(calls)::bigint as scored_calls,
        sum(calls) filter (where reason = 'kept')::bigint as kept_calls,
        -- NULL where shards were decided on with several.
        if(min(filtering_threshold) = max(filtering_threshold), min(filtering_threshold), null)
            as only_threshold
    from decision_counts
    group by tool, round
),
thresholds as (
    select tool, round, unnest(sweep_thresholds()) as filtering_threshold from tools
    union
    select tool, round, filtering_threshold from decision_counts
),
texts as (
    select tool, round, sum(kept_texts)::bigint as kept_texts from kept_counts group by tool, round
),
reached as (
    select thresholds.*, sum(reductions.calls)::bigint as calls, sum(reductions.texts)::bigint as texts
    from thresholds
    inner join loss_reductions as reductions
        on reductions.tool = thresholds.tool
        and reductions.round = thresholds.round
        and reductions.reduction_bin >= threshold_bin(thresholds.filtering_threshold)
    group by all
),
by_chance as (
    select
        thresholds.tool,
        thresholds.round,
        thresholds.filtering_threshold,
        sum(calls)::bigint as chance_calls,
        if(
            threshold_bin(thresholds.filtering_threshold) is null
            or (contrast_threshold is not null and threshold_bin(contrast_threshold) is null),
            null,
            coalesce(
                sum(calls) filter (
                    where reduction_bin >= threshold_bin(thresholds.filtering_threshold)
                    and (
                        contrast_threshold is null
                        or contrast_bin >= threshold_bin(contrast_threshold)
                    )
                ),
                0
            ) / sum(calls)
        ) as chance_share
    from thresholds
    inner join chance_counts
        on chance_counts.tool = thresholds.tool and chance_counts.round = thresholds.round
    inner join tools on tools.tool = thresholds.tool and tools.round = thresholds.round
    where reaches(thresholds.filtering_threshold, chance_counts.pruning_threshold)
        and (contrast_threshold is null or has_second_result)
    group by
        thresholds.tool, thresholds.round, thresholds.filtering_threshold, contrast_threshold
),
kept as (
    select
        thresholds.*,
        case
            when threshold_bin(thresholds.filtering_threshold) is not null
                then coalesce(reached.calls, 0)
            when thresholds.filtering_threshold = tools.only_threshold
                then coalesce(tools.kept_calls, 0)
        end as kept_calls,
        case
            when threshold_bin(thresholds.filtering_threshold) is not null
                then coalesce(reached.texts, 0)
            when thresholds.filtering_threshold = tools.only_threshold
                then coalesce(texts.kept_texts, 0)
        end as kept_texts,
        tools.scored_calls,
        tools.lowest_threshold
    from thresholds
    inner join tools using (tool, round)
    left join texts using (tool, round)
    left join reached using (tool, round, filtering_threshold)
)
select
    tool,
    filtering_threshold,
    kept_calls,
    kept_texts,
    scored_calls,
    kept_calls / scored_calls as kept_share,
    coalesce(chance_calls, 0) as chance_calls,
    chance_share,
    round
from kept
left join by_chance using (tool, round, filtering_threshold)
where reaches(filtering_threshold, lowest_threshold)
order by round, tool, filtering_threshold
