-- The ten most helpful kept calls per shard, tool and round.
--
-- Result: shard, tool, round, call_id, own_gain (nats; the smaller of loss reduction and contrast,
-- or the loss reduction if the contrast is unknown).
select
    shard,
    tool,
    round,
    call_id,
    least(loss_reduction, contrast) as own_gain
from filtered_calls
where is_kept
qualify row_number() over (partition by shard, tool, round order by own_gain desc, call_id) <= 10
