-- The benchmarks whose intervals are stale: they were computed from earlier results of a model.
select distinct compared.partition as benchmark
from (
    select partition, parts ->> 'scores' as scores, unnest(json_keys(parts ->> 'scores')) as name
    from partition_metadata
    where table_name = 'score_intervals'
) as compared
left join (from partition_metadata where table_name = 'evaluation_results') as results
    on compared.name = results.partition
where
    split_part(compared.name, '.', 2) = $model
    and results.fingerprint is distinct from compared.scores ->> ('$."' || compared.name || '"')
