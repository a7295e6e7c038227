-- Candidate calls that share their key with another row, over all slices.
-- Result: call_id, rows; no row where there is none.
select call_id, count(*) as rows
from candidate_calls
group by call_id
having count(*) > 1
order by call_id
