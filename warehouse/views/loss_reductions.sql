-- Histogram of the loss reductions of scored calls, in bins of 0.01 nats.
--
-- It leaves out calls whose reduction is only known to be below a bound, and calls whose
-- contrast is too small.
--
-- Columns:
--   tool: name of the tool
--   round: annotation round, from 1
--   reduction_bin: bin in hundredths of a nat; 1000 and -1000 include everything beyond
--   min_reduction: lower end of the bin, in nats
--   calls: number of calls in the bin
--   texts: number of windows whose best call is in the bin
--   chance_calls: number of calls in the chance sample that a swapped result puts into the bin
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
