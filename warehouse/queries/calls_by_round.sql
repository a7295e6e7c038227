-- What the calls of each tool came to in the rounds of annotation up to $until, and how large a
-- share of calls with swapped results the same threshold keeps.
with
texts as (
    select tool, round, rows as texts_annotated from call_funnel where stage = 'preselected'
),
-- More than one only where some shards were last decided on with another.
thresholds as (
    select tool, round, max(filtering_threshold) as filtering_threshold
    from decision_counts
    group by tool, round
),
chance as (
    select tool, round, filtering_threshold, chance_share from threshold_sweep
)
select
    round,
    tool,
    texts_annotated,
    candidates,
    executed,
    kept,
    kept / nullif(scored, 0) as kept_share,
    chance_share
from call_statistics
left join texts using (tool, round)
left join thresholds using (tool, round)
left join chance using (tool, round, filtering_threshold)
where round <= $until
order by round, tool
