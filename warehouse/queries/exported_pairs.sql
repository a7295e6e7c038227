-- Each kept call of a round with each one that the filter dropped at the same position, of the same
-- tool and with other arguments, of the tools in C*. Dropped for its losses: a call that could not be scored, or had no
-- swapped result to be compared with, says nothing.
with calls as (
    select *
    from all_calls
    where round = $round
        and isfinite(loss_reduction)
        and reason <> 'no_swapped_result'
        and result is not null
)
select
    texts.document_id,
    texts.window_index,
    texts.shard,
    texts.round,
    coalesce(training_texts.split, 'none') as split,
    texts.context,
    texts.text,
    kept.character_offset - texts.window_offset as character_offset,
    kept.tool,
    kept.call_id as chosen_call_id,
    kept.arguments as chosen_arguments,
    kept.result as chosen_result,
    kept.loss_reduction as chosen_loss_reduction,
    dropped.call_id as rejected_call_id,
    dropped.arguments as rejected_arguments,
    dropped.result as rejected_result,
    dropped.loss_reduction as rejected_loss_reduction
from calls as kept
inner join calls as dropped
    on dropped.document_id = kept.document_id
    and dropped.window_index = kept.window_index
    and dropped.position = kept.position
    and dropped.tool = kept.tool
    and dropped.arguments <> kept.arguments
inner join augmented_texts as texts
    on texts.document_id = kept.document_id
    and texts.window_index = kept.window_index
    and texts.round = $round
left join training_texts
    on training_texts.document_id = texts.document_id
    and training_texts.window_index = texts.window_index
where
    kept.is_kept
    and not dropped.is_kept
    and kept.tool in (select tool from merged_counts where round = $round)
order by
    texts.shard, texts.document_id, texts.window_index, kept.position, kept.tool, kept.call_id,
    dropped.call_id
