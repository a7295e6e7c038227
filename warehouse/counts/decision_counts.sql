-- Scored calls of each shard, by what was decided on them.
--
-- Result: shard, tool, round, reason, proposed (none, position, call), filtering_threshold,
-- contrast_threshold, lowest_threshold (nats), is_kept_by_chance (NULL outside of the chance
-- sample), calls, loss_reduction (of the kept ones, all together).
select
    shard, tool, round, reason, proposed,
    filtering_threshold, contrast_threshold, lowest_threshold, is_kept_by_chance,
    count(*) as calls,
    sum(loss_reduction) filter (where is_kept) as loss_reduction
from filtered_calls
group by all
