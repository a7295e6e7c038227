-- The benchmarks that have results, and what their scores are.
select benchmark, any_value(metric) as metric
from evaluation_results
group by benchmark
order by benchmark
