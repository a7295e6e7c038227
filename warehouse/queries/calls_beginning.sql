-- The sampled calls whose ids begin with a text, the first few.
--
-- Parameters: beginning, most. Result: call_id, in order.
select call_id
from candidate_calls
where starts_with(call_id, $beginning)
order by call_id
limit $most
