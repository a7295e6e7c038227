-- The benchmarks that have scores, and what these are.
select benchmark, any_value(metric) as metric
from evaluation_results
where score is not null
group by benchmark
order by benchmark
