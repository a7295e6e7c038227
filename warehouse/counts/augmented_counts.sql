-- Number of windows in C* and of their calls, per shard and round.
--
-- Result: shard, round, texts, calls.
select shard, round, count(*) as texts, sum(len(calls))::bigint as calls
from augmented_texts
group by all
