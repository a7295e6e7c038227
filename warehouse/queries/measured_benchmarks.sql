-- The benchmarks that have scores, and what these are.
select
    benchmark,
    -- Rows of earlier releases do not say it.
    coalesce(any_value(metric), case benchmark when 'perplexity' then benchmark else 'accuracy' end)
        as metric
from evaluation_results
where score is not null
group by benchmark
order by benchmark
