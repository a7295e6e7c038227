-- Share of useful calls among the judged kept calls, by tool and loss reduction.
--
-- The view counts the labels in `judged_calls`, so a call that two people judged counts twice.
--
-- Columns:
--   tool: name of the tool
--   min_reduction: lower end of a range of loss reductions that ends at the next step. The steps
--     are -inf, 0, 0.25, 0.5, 1, 2 and 4 nats. NULL for all calls of the tool
--   useful: number of labels useful
--   not_useful: number of labels not_useful
--   unsure: number of labels unsure
--   precision: share of useful among useful and not_useful; NULL if there are none
--   round: annotation round, from 1
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
