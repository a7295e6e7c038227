-- How well the filter keeps the calls that people marked, by threshold: precision and recall.
--
-- Of the texts with marks that a tool was tried on. What a match is, `calls_at_marks` says. Thresholds:
-- eight fixed ones and those in force, none below scoring.lowest_threshold, where losses are missing.
-- The contrast is off, and on where a threshold of it is in force.
--
-- Columns:
--   tool: name of the tool
--   round: sampling round, from 1
--   proposed: what the tool proposed: none, position or call; all for the calls of every kind
--   filtering_threshold: in nats
--   contrast_threshold: in nats; NULL where the contrast is off
--   marks: marks of people, and calls of the tool, in the texts that the tool was tried on
--   sampled_marks: of these, matched by a sampled call
--   scored_calls: calls given to the loss filter in these texts
--   scored_matching: of these, calls that match a mark
--   kept_calls: of the scored calls, those that the thresholds keep
--   kept_matching: of the kept calls, those that match a mark
--   kept_at_marks: of the kept calls, those that are at a mark, whatever they say
--   kept_marks: marks that a kept call matches
--   precision: kept_matching of kept_calls; NULL where none is kept
--   recall: kept_marks of marks
with
calls as (
    select *, 'all' as origin from calls_at_marks
    union all
    select *, proposed from calls_at_marks
),
known as (
    select
        *,
        reason in ('kept', 'below_threshold', 'below_contrast', 'no_swapped_result')
        and isfinite(loss_reduction) as is_known
    from calls
),
tried as (
    select tool, round, count(*) as marks
    from document_selection
    inner join text_marks using (document_id, shard)
    where
        reason not in ('left_to_other_tools', 'no_call_in_round_before')
        and coalesce(called_tool, tool) = tool
    group by tool, round
),
thresholds as (
    select distinct
        tool,
        round,
        filtering_threshold,
        max(lowest_threshold) over (partition by tool, round) as lowest
    from (
        select distinct
            tool,
            round,
            lowest_threshold,
            unnest([0, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, filtering_threshold]) as filtering_threshold
        from calls_at_marks
        where filtering_threshold is not null
    )
),
contrasts as (
    select distinct tool, round, unnest([null, contrast_threshold]) as contrast_threshold
    from calls_at_marks
    where filtering_threshold is not null
),
decided as (
    select
        known.*,
        thresholds.filtering_threshold as threshold,
        contrasts.contrast_threshold as contrast_limit,
        coalesce(
            is_known
            and reaches(loss_reduction, thresholds.filtering_threshold)
            and (
                contrasts.contrast_threshold is null
                or coalesce(
                    isfinite(contrast) and reaches(contrast, contrasts.contrast_threshold), false
                )
            ),
            false
        ) as is_kept_so
    from known
    inner join thresholds using (tool, round)
    inner join contrasts using (tool, round)
    where reaches(thresholds.filtering_threshold, thresholds.lowest)
)
select
    tool,
    round,
    origin as proposed,
    threshold as filtering_threshold,
    contrast_limit as contrast_threshold,
    any_value(tried.marks)::bigint as marks,
    count(distinct (document_id, number)) filter (where number is not null) as sampled_marks,
    count(reason) as scored_calls,
    count(number) filter (where reason is not null) as scored_matching,
    count(*) filter (where is_kept_so) as kept_calls,
    count(number) filter (where is_kept_so) as kept_matching,
    count(*) filter (where is_kept_so and is_at_mark) as kept_at_marks,
    count(distinct (document_id, number)) filter (where is_kept_so and number is not null)
        as kept_marks,
    kept_matching / nullif(kept_calls, 0) as precision,
    kept_marks / any_value(tried.marks) as recall
from decided
inner join tried using (tool, round)
group by tool, round, origin, threshold, contrast_limit
order by round, tool, origin, contrast_limit nulls first, threshold
