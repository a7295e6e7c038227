-- Number of windows in C* for each round with scored calls.
select round, coalesce(sum(texts), 0)::bigint as texts
from (select distinct round from decision_counts)
full join augmented_counts using (round)
group by round
order by round
