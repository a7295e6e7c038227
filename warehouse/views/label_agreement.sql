-- Agreement of two people on the calls that both judged.
--
-- A person's newest label on a call counts. The call must still exist with the same arguments and
-- result, but need not be kept, and both may have seen different amounts of text.
--
-- Columns:
--   rater: name of the first person
--   other_rater: name of the second person, later in the alphabet
--   calls: number of calls that both judged
--   agreed: number of calls with the same label
--   agreement: share of calls with the same label
--   by_chance: expected share if both had assigned their labels to calls at random
--   kappa: Cohen's kappa, (agreement - by_chance) / (1 - by_chance); NULL if both gave every call
--     the same label
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
