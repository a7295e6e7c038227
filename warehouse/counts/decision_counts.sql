-- Scored calls of each shard, by what was decided on them.
--
-- Result: shard, tool, round, reason, proposed (none, position, call), filtering_threshold,
-- contrast_threshold, pruning_threshold (nats), calls, loss_reduction (of the kept ones, all
-- together).
select
    shard, tool, round, reason,
    coalesce(proposed, 'none') as proposed,
    filtering_threshold, contrast_threshold, pruning_threshold,
    count(*) as calls,
    sum(loss_reduction) filter (where is_kept) as loss_reduction
from filtered_calls
group by all
