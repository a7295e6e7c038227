-- The calls that $rater has judged: call_id, round.
select call_id, round from judged_calls where rater = $rater
