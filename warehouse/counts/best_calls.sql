-- The ten kept calls of each shard, tool and round whose own result helps most.
--
-- Result: shard, tool, round, call_id, own_gain (nats; the loss reduction, or what it is more than
-- with the result of another call where that is known and less).
select
    shard,
    tool,
    round,
    call_id,
    least(loss_reduction, contrast) as own_gain
from filtered_calls
where is_kept
qualify row_number() over (partition by shard, tool, round order by own_gain desc, call_id) <= 10
