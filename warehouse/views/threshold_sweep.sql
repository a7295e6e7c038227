-- How many calls and texts other filtering thresholds would keep, and how many by chance.
--
-- Result: tool, filtering_threshold (nats), kept_calls, kept_texts (windows with at least one
-- such call), scored_calls (all calls given to the loss filter), kept_share (kept_calls of
-- scored_calls), chance_calls (calls that were also scored with the result of another call),
-- chance_share (share of these that would be kept so; NULL without any), round. The nearer
-- chance_share is to kept_share, the less the threshold separates. Thresholds: the three of the
-- paper's table 2 and every one that was used in the sampling round. Below the pruning threshold
-- losses are missing, so nothing is shown there. Where a tool has a contrast threshold, kept_calls
-- and kept_texts are of the calls that reach it too; below the filtering threshold no contrast is
-- known, so nothing is shown there either. chance_share knows no contrast. The tolerance is that of
-- the filter itself.
with
tools as (
    select
        tool,
        round,
        max(
            greatest(pruning_threshold, if(contrast_threshold is null, null, filtering_threshold))
        ) as lowest_threshold,
        count(*) as scored_calls
    from filtered_calls
    group by tool, round
),
thresholds as (
    select tool, round, unnest(sweep_thresholds()) as filtering_threshold from tools
    union
    select tool, round, filtering_threshold from filtered_calls
),
scored as (
    select filtered_calls.tool, filtered_calls.round, loss_reduction, document_id, window_index
    from filtered_calls
    left join candidate_calls on candidate_calls.call_id = filtered_calls.call_id
    -- Those whose reduction is known, and that no contrast dropped.
    where filtered_calls.reason in ('kept', 'below_threshold')
),
kept as (
    select
        thresholds.tool,
        thresholds.round,
        thresholds.filtering_threshold,
        count(scored.tool) as kept_calls,
        count(distinct (document_id, window_index))
            filter (where scored.tool is not null) as kept_texts
    from thresholds
    left join scored
        on scored.tool = thresholds.tool
        and scored.round = thresholds.round
        and reaches(scored.loss_reduction, thresholds.filtering_threshold)
    group by thresholds.tool, thresholds.round, thresholds.filtering_threshold
),
by_chance as (
    select
        thresholds.tool,
        thresholds.round,
        thresholds.filtering_threshold,
        count(*) as chance_calls,
        avg((
            chance_calls.reason = 'scored'
            and reaches(chance_calls.loss_reduction, thresholds.filtering_threshold)
        )::integer) as chance_share
    from thresholds
    inner join chance_calls
        on chance_calls.tool = thresholds.tool and chance_calls.round = thresholds.round
    where reaches(thresholds.filtering_threshold, chance_calls.pruning_threshold)
    group by thresholds.tool, thresholds.round, thresholds.filtering_threshold
)
select
    kept.tool,
    kept.filtering_threshold,
    kept.kept_calls,
    kept.kept_texts,
    tools.scored_calls,
    kept.kept_calls / tools.scored_calls as kept_share,
    coalesce(by_chance.chance_calls, 0) as chance_calls,
    by_chance.chance_share,
    kept.round
from kept
inner join tools on tools.tool = kept.tool and tools.round = kept.round
left join by_chance
    on by_chance.tool = kept.tool
    and by_chance.round = kept.round
    and by_chance.filtering_threshold = kept.filtering_threshold
where reaches(kept.filtering_threshold, tools.lowest_threshold)
order by kept.round, kept.tool, kept.filtering_threshold
