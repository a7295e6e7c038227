-- Share of the scored calls that are kept, by round; round 1 has no name.
select if(round > 1, ', round ' || round, '') as of_round, avg(is_kept::integer) as share
from filtered_calls
group by of_round
order by of_round
