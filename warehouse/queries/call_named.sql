-- The sampled call with a given id.
--
-- Parameter: call_id. Result: call_id, shard; no row if there is no such call.
select call_id, shard
from candidate_calls
where call_id = $call_id
