-- Number of sampled calls per shard, tool, round and outcome of parsing.
--
-- Result: shard, tool, round, status (parsed, dropped), reason (NULL if parsed), proposed (none,
-- position, call), calls.
select shard, tool, round, status, reason, proposed, count(*) as calls
from candidate_calls
group by all
