-- Calls of each shard that are in C*.
--
-- Result: shard, tool, round, calls.
select shard, call.tool, round, count(*) as calls
from (select shard, round, unnest(calls) as call from augmented_texts)
group by all
