-- What records hold and documents do not, the commonest first.
--
-- Result: kind, name (of a column that nothing reads, else empty), count.
select kind, name, sum(count)::bigint as count
from loss_counts
group by kind, name
order by count desc, kind, name
