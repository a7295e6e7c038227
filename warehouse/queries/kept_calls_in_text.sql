-- Kept calls with the text around them.
--
-- Parameter: call_ids. Result: tool, loss_reduction, contrast, text_before, call, text_after,
-- round; the most helpful calls first.
select tool, loss_reduction, contrast, text_before, call, text_after, round
from kept_examples
where call_id in (select unnest($call_ids))
order by round, tool, least(loss_reduction, contrast) desc, call_id
