-- Number of calls in C* per shard, tool and round, without calls of the previous chained round.
--
-- Result: shard, tool, round, calls.
select shard, call.tool, round, count(*) as calls
from (select shard, round, first_call_id, unnest(calls) as call from augmented_texts)
where call.call_id is distinct from first_call_id
group by all
