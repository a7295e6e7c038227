-- Kept calls with the text around them, those with the largest loss reduction first.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   loss_reduction: loss reduction in nats
--   text_before: up to 120 characters before the call
--   call: call with its result, as written in the text
--   text_after: up to 120 characters after the call
--   round: annotation round, from 1
--   contrast: how much more the call's own result helps than another call's, in nats; NULL if all
--     calls of the tool have the same result
select
    call_id,
    tool,
    loss_reduction,
    text_before,
    '[' || tool || '(' || arguments || ') -> ' || result || ']' as call,
    text_after,
    round,
    contrast
from all_calls
where is_kept
order by loss_reduction desc, call_id
