-- The sampled call with an id.
--
-- Parameter: call_id. Result: call_id, shard; no row where there is none.
select call_id, shard
from candidate_calls
where call_id = $call_id
