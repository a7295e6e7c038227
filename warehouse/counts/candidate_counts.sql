-- Sampled calls of each shard, by what came of them.
--
-- Result: shard, tool, round, status (parsed, dropped), reason (NULL for parsed ones), proposed
-- (none, position, call), calls.
select shard, tool, round, status, reason, proposed, count(*) as calls
from candidate_calls
group by all
