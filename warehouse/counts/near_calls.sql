-- The 20 calls of each shard, tool and round that missed the filtering threshold by least.
--
-- Result: shard, tool, round, call_id, missed_by (nats).
select shard, tool, round, call_id, filtering_threshold - loss_reduction as missed_by
from filtered_calls
where reason = 'below_threshold'
qualify row_number() over (
    partition by shard, tool, round order by filtering_threshold - loss_reduction, call_id
) <= 20
