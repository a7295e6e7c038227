-- How many of the kept calls that people judged are useful, by tool and loss reduction.
--
-- Of the labels in `judged_calls`; a call that two people judged counts twice.
--
-- Columns:
--   tool: name of the tool
--   min_reduction: of the calls whose loss reduction reaches this, but not the next, of 0, 0.25,
--     0.5, 1, 2 and 4 nats (-inf: none of them); NULL for all calls of the tool
--   useful: labels that say so
--   not_useful: labels that say so
--   unsure: labels that say so
--   precision: share of useful among useful and not_useful; NULL without any
--   round: sampling round, from 1
with judged as (
    select tool, round, label, list_max([
        step for step in ['-infinity'::double, 0, 0.25, 0.5, 1, 2, 4] if reaches(loss_reduction, step)
    ]) as min_reduction
    from judged_calls
)
select
    tool,
    min_reduction,
    count(*) filter (where label = 'useful') as useful,
    count(*) filter (where label = 'not_useful') as not_useful,
    count(*) filter (where label = 'unsure') as unsure,
    useful / nullif(useful + not_useful, 0) as precision,
    round
from judged
group by grouping sets ((tool, round), (tool, round, min_reduction))
order by round, tool, min_reduction nulls first
