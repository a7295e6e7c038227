-- Kept calls in their texts.
--
-- Parameter: call_ids. Result: tool, loss_reduction, text_before, call, text_after, round.
select tool, loss_reduction, text_before, call, text_after, round
from kept_examples
where call_id in (select unnest($call_ids))
order by round, tool, loss_reduction desc, call_id
