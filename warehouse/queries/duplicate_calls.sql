-- Candidate calls that share their key with another, over all slices.
-- Result: shard, calls; no row where there is none.
select shard, count(*) as calls
from candidate_calls
where call_id in (select call_id from candidate_calls group by call_id having count(*) > 1)
group by shard
order by shard
