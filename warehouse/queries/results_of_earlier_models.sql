-- The partitions of results that have a model's name but were computed with an earlier model.
-- Emptied partitions have no parts and are skipped.
select partition
from partition_metadata
where
    table_name = 'evaluation_results'
    and split_part(partition, '.', 2) = $model
    and parts ->> 'language_model' <> $identity
