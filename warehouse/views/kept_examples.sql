-- Kept calls where they stand in their text.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   loss_reduction: by how much the result lowers the loss, in nats
--   text_before: up to 120 characters in front of the call
--   call: as it is written, with its result
--   text_after: up to 120 characters behind it
--   round: sampling round, from 1
--   contrast: by how much its own result helps more than another call's, in nats; NULL where all
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
