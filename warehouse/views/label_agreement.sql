-- How far two people agree on the calls that both judged, whether or not these are kept today, and
-- however much of the text each saw. Of several labels of one person on a call the newest counts,
-- and none on a call that is not there with these arguments and this result.
--
-- Columns:
--   rater: name of the one
--   other_rater: name of the other, behind it in the alphabet
--   calls: that both judged
--   agreed: calls with the same label of both
--   agreement: share of these
--   by_chance: the share if both gave as many of each of the three labels, but to any calls
--   kappa: Cohen's kappa, (agreement - by_chance) / (1 - by_chance); NULL where both gave all calls
--     one and the same label
with calls as (
    select call_id, tool, arguments, result
    from candidate_calls
    inner join executed_calls using (call_id, shard, tool, round)
    where call_id in (select call_id from labels)
),
current_labels as (
    select rater, call_id, tool, arguments, result, arg_max(label, labelled_at) as label
    from labels
    semi join calls using (call_id, tool, arguments, result)
    group by all
)
select
    one.rater,
    other.rater as other_rater,
    count(*) as calls,
    count(*) filter (where one.label = other.label) as agreed,
    agreed / calls as agreement,
    avg((one.label = 'useful')::integer) * avg((other.label = 'useful')::integer)
    + avg((one.label = 'not_useful')::integer) * avg((other.label = 'not_useful')::integer)
    + avg((one.label = 'unsure')::integer) * avg((other.label = 'unsure')::integer) as by_chance,
    (agreement - by_chance) / nullif(1 - by_chance, 0) as kappa
from current_labels as one
inner join current_labels as other using (call_id, tool, arguments, result)
where one.rater < other.rater
group by one.rater, other.rater
order by one.rater, other.rater
