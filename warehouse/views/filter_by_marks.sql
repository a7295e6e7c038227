-- Precision and recall of the filter against annotations in texts, by threshold.
--
-- The view covers texts with annotations (`text_marks`) on which the tool was tried;
-- `calls_at_marks` defines a match. Thresholds are eight fixed ones and those in use, but none
-- below scoring.lowest_threshold, since losses are missing there. Each is shown without the
-- contrast and, if a contrast threshold is in use, with it.
--
-- Columns:
--   tool: name of the tool
--   round: annotation round, from 1
--   proposed: what the tool proposed: none, position or call; all for every call
--   filtering_threshold: smallest loss reduction that keeps a call, in nats
--   contrast_threshold: smallest contrast that keeps a call, in nats; NULL without the contrast
--   marks: number of annotations for the tool in these texts
--   sampled_marks: number of annotations that a sampled call matches
--   scored_calls: number of calls in these texts that were scored
--   scored_matching: number of scored calls that match an annotation
--   kept_calls: number of scored calls that the thresholds keep
--   kept_matching: number of kept calls that match an annotation
--   kept_at_marks: number of kept calls that are at an annotation, whether they match it or not
--   kept_marks: number of annotations that a kept call matches
--   precision: kept_matching / kept_calls; NULL if none is kept
--   recall: kept_marks / marks
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
