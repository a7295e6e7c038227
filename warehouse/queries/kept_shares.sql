-- Share of the scored calls that are kept, by round; round 1 has no name.
select
    if(round > 1, ', round ' || round, '') as of_round,
    coalesce(sum(calls) filter (where reason = 'kept'), 0) / sum(calls) as share
from decision_counts
group by of_round
order by of_round
