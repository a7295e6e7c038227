-- The partitions of results of a model's name whose rows are of another model than the present one.
-- Emptied ones tell no parts.
select partition
from partition_metadata
where
    table_name = 'evaluation_results'
    and split_part(partition, '.', 2) = $model
    and parts ->> 'language_model' <> $identity
