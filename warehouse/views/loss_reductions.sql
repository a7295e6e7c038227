-- How much the scored calls lower the loss, in steps of 0.01 nats.
--
-- Calls whose reduction is only bounded, or whose contrast is too small, are not among them.
--
-- Columns:
--   tool: name of the tool
--   round: sampling round, from 1
--   reduction_bin: the step, in hundredths of a nat; 1000 and -1000 hold all beyond
--   min_reduction: lower end of the step, in nats
--   calls: in this step
--   texts: windows whose best call is in this step
--   chance_calls: calls of the chance sample that are in this step with a swapped result
select
    tool,
    round,
    reduction.reduction_bin as reduction_bin,
    reduction.reduction_bin / 100 as min_reduction,
    sum(reduction.calls)::bigint as calls,
    sum(reduction.texts)::bigint as texts,
    sum(reduction.chance_calls)::bigint as chance_calls
from (select tool, round, unnest(reductions) as reduction from reduction_counts)
group by tool, round, reduction.reduction_bin
order by round, tool, reduction_bin
