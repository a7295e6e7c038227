-- What the proposals of tools are worth: candidates for each kept call, by how they came about.
--
-- Result: tool, proposed (none: p(` [`) chose the position; position: the tool did; call: it also
-- gave the arguments), candidates, scored, kept, candidates_per_kept (NULL where none is kept),
-- round.
select
    candidate_calls.tool,
    coalesce(proposed, 'none') as proposed,
    count(*) as candidates,
    count(filtered_calls.call_id) as scored,
    count(*) filter (where is_kept) as kept,
    count(*) / nullif(count(*) filter (where is_kept), 0) as candidates_per_kept,
    candidate_calls.round
from candidate_calls
left join filtered_calls on filtered_calls.call_id = candidate_calls.call_id
where candidate_calls.status = 'parsed'
group by candidate_calls.tool, coalesce(proposed, 'none'), candidate_calls.round
order by candidate_calls.round, candidate_calls.tool, 2
