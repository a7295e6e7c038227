-- The 20 most frequent results of each shard, tool and round.
--
-- Result: shard, tool, round, result (its first 200 characters), calls.
select shard, tool, round, left(result, 200) as result, count(*) as calls
from executed_calls
where status = 'executed'
group by shard, tool, round, left(result, 200)
qualify row_number() over (partition by shard, tool, round order by calls desc, left(result, 200)) <= 20
