-- The executed calls that missed the filtering threshold by least, 20 of each tool and round.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   arguments: arguments of the call
--   result: result of the tool
--   loss_without_call: L(ε), in nats
--   loss_call_without_result: L(e(c, ε)), in nats; NULL where it was not needed
--   loss_with_result: L(e(c, r)), in nats
--   loss_reduction: by how much the result lowers the loss, in nats
--   filtering_threshold: threshold that was missed, in nats
--   shard: key of the shard
--   document_id: text that the call stands in
--   round: sampling round, from 1
with
decided as materialized (
    select * from filtered_calls
    where reason = 'below_threshold'
    qualify row_number() over (
        partition by tool, round order by filtering_threshold - loss_reduction, call_id
    ) <= 20
),
-- Each table is searched for these few alone: a join of all three reads all of them.
written as (
    select call_id, arguments from candidate_calls
    where call_id in (select call_id from decided)
),
answered as (
    select call_id, result from executed_calls where call_id in (select call_id from decided)
)
select
    call_id,
    decided.tool,
    written.arguments,
    answered.result,
    decided.loss_without_call,
    decided.loss_call_without_result,
    decided.loss_with_result,
    decided.loss_reduction,
    decided.filtering_threshold,
    decided.shard,
    decided.document_id,
    decided.round
from decided
inner join written using (call_id)
inner join answered using (call_id)
order by decided.round, decided.tool, decided.loss_reduction desc, call_id
