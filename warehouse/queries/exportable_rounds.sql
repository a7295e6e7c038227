-- What there is to export of each round with scored calls: how many windows of C*.
select round, coalesce(sum(texts), 0)::bigint as texts
from (select distinct round from decision_counts)
full join augmented_counts using (round)
group by round
order by round
