-- The benchmarks that have results, and the metric of their scores.
select benchmark, any_value(metric) as metric
from evaluation_results
group by benchmark
order by benchmark
