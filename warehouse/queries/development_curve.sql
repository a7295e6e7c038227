-- The training steps after which the development set was measured.
select variant, step, loss, learning_rate, tokens, development_perplexity, call_loss, is_kept
from training_metrics
where run = $run and development_perplexity is not null
order by step
