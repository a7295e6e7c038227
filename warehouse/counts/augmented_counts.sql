-- Windows of each shard that are in C*, and their calls.
--
-- Result: shard, round, texts, calls.
select shard, round, count(*) as texts, sum(len(calls))::bigint as calls
from augmented_texts
group by all
