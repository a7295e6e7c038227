-- How many calls and texts a filtering threshold keeps, and how many by chance: kept_at(0.75).
--
-- Its parameter is in nats, a multiple of 0.01. The counts are those of threshold_sweep, without
-- its lowest threshold: below the pruning threshold of a shard, calls are missing.
--
-- Columns:
--   tool: name of the tool
--   kept_calls: calls that reach the threshold
--   kept_texts: windows with at least one such call
--   scored_calls: all calls given to the loss filter
--   kept_share: kept_calls of scored_calls
--   chance_share: share that would be kept with the results of other calls; NULL without a sample
--   round: of annotation, from 1
with
chosen as (
    select if(
        threshold_bin(chosen_threshold) is null,
        error('kept_at takes multiples of 0.01 nats; the histograms have no finer steps.'),
        threshold_bin(chosen_threshold)
    ) as threshold_bin
),
scored as (
    select
        tool,
        round,
        sum(calls)::bigint as scored_calls,
        max(contrast_threshold) as contrast_threshold
    from decision_counts
    group by tool, round
),
kept as (
    select tool, round, sum(calls)::bigint as kept_calls, sum(texts)::bigint as kept_texts
    from loss_reductions
    where reduction_bin >= (select threshold_bin from chosen)
    group by tool, round
),
by_chance as (
    select
        tool,
        round,
        if(
            contrast_threshold is not null and threshold_bin(contrast_threshold) is null,
            null,
            coalesce(
                sum(calls) filter (
                    where reduction_bin >= (select threshold_bin from chosen)
                    and (
                        contrast_threshold is null
                        or contrast_bin >= threshold_bin(contrast_threshold)
                    )
                ),
                0
            ) / sum(calls)
        ) as chance_share
    from chance_counts
    inner join scored using (tool, round)
    where contrast_threshold is null or has_second_result
    group by tool, round, contrast_threshold
)
select
    tool,
    coalesce(kept_calls, 0) as kept_calls,
    coalesce(kept_texts, 0) as kept_texts,
    scored_calls,
    coalesce(kept_calls, 0) / scored_calls as kept_share,
    chance_share,
    round
from scored
left join kept using (tool, round)
left join by_chance using (tool, round)
order by round, tool
