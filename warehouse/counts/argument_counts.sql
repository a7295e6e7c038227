-- The 20 most frequent arguments of the candidates of each shard, tool and round.
--
-- Result: shard, tool, round, arguments, calls.
select shard, tool, round, arguments, count(*) as calls
from candidate_calls
where status = 'parsed'
group by shard, tool, round, arguments
qualify row_number() over (partition by shard, tool, round order by calls desc, arguments) <= 20
