-- How much two ways of answering the same items differ, and whether that can be chance.
--
-- Result: benchmark, model, mode, other_model, other_mode, items, better, worse, difference, low,
-- high (percentage points; of texts perplexity), p_value, verdict: better or worse where the 95 %
-- interval leaves out 0 and the test agrees (p < 0.05), else unclear. Many pairs are compared here:
-- of twenty without any difference one is expected to look like one.
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
