-- The kept calls that help most, up to a number per tool and round.
select tool, loss_reduction, text_before, call, text_after, round
from kept_examples
qualify row_number() over (
    partition by round, tool order by loss_reduction desc, call_id
) <= $per_tool
order by round, tool, loss_reduction desc, call_id
