-- What a model gains from its calls, over itself without them and over the controls, which were
-- trained on the same texts: $plain without calls, $shuffled with exchanged results. $model and the
-- controls are named as in the results.
--
-- Result: benchmark, against, items, share_with_call (of the model's answers), score and
-- score_of_other (in percent), difference, low, high (percentage points, 95 % interval), p_value,
-- verdict.
select
    gained.benchmark,
    case gained.other_model when $model then 'its calls disabled' else gained.other_model end
        as against,
    gained.items,
    own.share_with_call,
    100 * own.score as score,
    100 * other.score as score_of_other,
    gained.difference,
    gained.low,
    gained.high,
    gained.p_value,
    gained.verdict
from evaluation_difference as gained
inner join score_intervals as own
    on
        gained.benchmark = own.benchmark
        and gained.model = own.model
        and gained.mode = own.mode
inner join score_intervals as other
    on
        gained.benchmark = other.benchmark
        and gained.other_model = other.model
        and gained.other_mode = other.mode
where
    gained.model = $model
    and gained.mode = 'enabled'
    and (
        gained.other_model in ($model, $plain) and gained.other_mode = 'disabled'
        or gained.other_model = $shuffled and gained.other_mode = 'enabled'
    )
order by gained.benchmark, list_position([$model, $plain, $shuffled], gained.other_model)
