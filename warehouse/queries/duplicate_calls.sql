-- How many candidate calls share their key with another, over all slices.
select count(*) - count(distinct call_id) as surplus from candidate_calls
