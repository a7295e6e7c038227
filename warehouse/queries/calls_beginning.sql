-- The first sampled calls whose ids have a given prefix.
--
-- Parameters: beginning, max_calls. Result: call_id, shard, in order.
select call_id, shard
from candidate_calls
where starts_with(call_id, $beginning)
order by call_id
limit $max_calls
