-- Number of texts that were excluded from training, by reason.
--
-- Columns:
--   reason: reason for the exclusion, one snake_case word
--   held_out_set: for shares_ngram the benchmark, or held_out_shards; otherwise NULL
--   texts: number of excluded windows
--   plain_texts: number of these without calls
--   mean_similarity: for near_duplicate the mean similarity to the other text, from 0 to 1
select
    reason,
    held_out_set,
    count(*) as texts,
    count(*) filter (where calls = 0) as plain_texts,
    avg(similarity) as mean_similarity
from training_exclusions
group by reason, held_out_set
order by texts desc, reason, held_out_set
