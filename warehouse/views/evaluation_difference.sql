-- Differences between two models or modes on the same items, and whether they can be chance.
--
-- The view compares many pairs: among twenty pairs without any difference, expect one to look
-- significant.
--
-- Columns:
--   benchmark: name of the benchmark
--   model: base, finetuned, a control, or a model named in the settings
--   mode: disabled or enabled (calls), or the mode of a study
--   other_model: model with which it is compared
--   other_mode: mode with which it is compared
--   items: number of items that both answered
--   better: number of items on which the first is better
--   worse: number of items on which the first is worse
--   difference: first score minus second score, in percentage points; for texts in perplexity
--   low: lower end of the difference's 95 % interval
--   high: upper end of the difference's 95 % interval
--   p_value: p-value of the paired test
--   verdict: better or worse if the interval excludes 0 and the test agrees (p < 0.05), otherwise
--     unclear
select
    benchmark,
    model,
    mode,
    other_model,
    other_mode,
    items,
    better,
    worse,
    case metric when 'accuracy' then 100 else 1 end * difference as difference,
    case metric when 'accuracy' then 100 else 1 end * low as low,
    case metric when 'accuracy' then 100 else 1 end * high as high,
    p_value,
    case
        when p_value >= 0.05 or low <= 0 and high >= 0 then 'unclear'
        -- A smaller perplexity is better.
        when (difference > 0) = (metric = 'accuracy') then 'better'
        else 'worse'
    end as verdict
from paired_differences
order by benchmark, model, mode, other_model, other_mode
