-- How many calls and texts a filtering threshold keeps, and how many by chance: kept_at(0.75).
--
-- Its parameter is in nats, a multiple of 0.01. Below scoring.lowest_threshold calls are missing.
--
-- Columns:
--   tool: name of the tool
--   kept_calls: calls that reach the threshold, and the contrast threshold in force
--   kept_texts: windows with at least one such call
--   scored_calls: all calls given to the loss filter
--   kept_share: kept_calls of scored_calls
--   chance_share: share that would be kept with the results of other calls; NULL without a sample
--   round: sampling round, from 1
with
chosen as (
    select case
        when threshold_bin(chosen_threshold) is null
            then error('kept_at takes multiples of 0.01 nats; the histograms have no finer steps.')
        else threshold_bin(chosen_threshold)
    end as threshold_bin
),
scored as (
    select
        tool,
        round,
        sum(calls)::bigint as scored_calls,
        sum(calls) filter (where is_kept_by_chance is not null) as chance_calls
    from decision_counts
    group by tool, round
),
kept as (
    select
        tool,
        round,
        sum(calls)::bigint as kept_calls,
        sum(texts)::bigint as kept_texts,
        sum(chance_calls) as chance_kept
    from loss_reductions
    where reduction_bin >= (select threshold_bin from chosen)
    group by tool, round
)
select
    tool,
    coalesce(kept_calls, 0) as kept_calls,
    coalesce(kept_texts, 0) as kept_texts,
    scored_calls,
    coalesce(kept_calls, 0) / scored_calls as kept_share,
    coalesce(chance_kept, 0) / chance_calls as chance_share,
    round
from scored
left join kept using (tool, round)
order by round, tool
