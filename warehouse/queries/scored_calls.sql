-- The reductions of all calls of a round that are known, not only by a bound; but for those that a
-- contrast threshold dropped: no filtering threshold keeps these.
select tool, loss_reduction, filtering_threshold
from filtered_calls
where round = $round and reason in ('kept', 'below_threshold')
