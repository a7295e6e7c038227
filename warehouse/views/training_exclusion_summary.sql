-- How many texts are not trained on, by reason.
--
-- Columns:
--   reason: one snake_case word
--   held_out_set: of shares_ngram: the benchmark, or held_out_shards
--   texts: windows that were left out
--   plain_texts: of these, windows without calls
--   mean_similarity: of near_duplicate: how much they have in common with another text, from 0 to 1
select
    reason,
    held_out_set,
    count(*) as texts,
    count(*) filter (where calls = 0) as plain_texts,
    avg(similarity) as mean_similarity
from training_exclusions
group by reason, held_out_set
order by texts desc, reason, held_out_set
