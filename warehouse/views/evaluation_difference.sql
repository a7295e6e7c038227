-- How much two ways of answering the same items differ, and whether that can be chance.
--
-- Many pairs are compared here: of twenty without any difference one is expected to look like one.
--
-- Columns:
--   benchmark: name of the benchmark
--   model: base, finetuned, a control, or a model that the settings name
--   mode: disabled or enabled (calls), or that of a study
--   other_model: model that it is compared with
--   other_mode: mode that it is compared with
--   items: items that both answered
--   better: items on which the first one is better
--   worse: items on which it is worse
--   difference: first score minus the other, in percentage points; of texts, in perplexity
--   low: lower end of the 95 % interval of the difference
--   high: upper end of it
--   p_value: p-value of the paired test
--   verdict: better or worse where the interval leaves out 0 and the test agrees (p < 0.05), else
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
        -- Of perplexities the smaller one is better.
        when (difference > 0) = (metric = 'accuracy') then 'better'
        else 'worse'
    end as verdict
from paired_differences
order by benchmark, model, mode, other_model, other_mode
