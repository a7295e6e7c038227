-- The ten kept calls of each shard, tool and round that lower the loss most.
--
-- Result: shard, tool, round, call_id, loss_reduction (nats).
select shard, tool, round, call_id, loss_reduction
from filtered_calls
where is_kept
qualify row_number() over (
    partition by shard, tool, round order by loss_reduction desc, call_id
) <= 10
