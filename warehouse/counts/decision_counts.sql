-- Number of scored calls per shard, tool, round and decision.
--
-- Result: shard, tool, round, reason, proposed (none, position, call), filtering_threshold,
-- contrast_threshold, lowest_threshold (nats), is_kept_by_chance (NULL outside the chance sample),
-- calls, loss_reduction (sum over kept calls, in nats).
select
    shard, tool, round, reason, proposed,
    filtering_threshold, contrast_threshold, lowest_threshold, is_kept_by_chance,
    count(*) as calls,
    sum(loss_reduction) filter (where is_kept) as loss_reduction
from filtered_calls
group by all
