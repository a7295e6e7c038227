-- Macros of every database, shared by views, constraints, queries and users' statements.
-- `connection.py` fills in the braces.

create or replace macro reaches(loss_reduction, threshold) as
    loss_reduction >= threshold - {tolerance};

create or replace macro sweep_thresholds() as {thresholds}::double[];

-- The highest multiple of 0.01 nats that a loss reduction reaches, in hundredths of a nat.
create or replace macro reduction_bin(loss_reduction) as (
    case
        when loss_reduction >= 10 then 1000
        when loss_reduction <= -10 then -1000
        -- Rounding can put the product on either side of a whole number.
        when reaches(loss_reduction, (floor(loss_reduction * 100) + 1) / 100)
            then floor(loss_reduction * 100) + 1
        when reaches(loss_reduction, floor(loss_reduction * 100) / 100)
            then floor(loss_reduction * 100)
        else floor(loss_reduction * 100) - 1
    end
)::integer;

-- The bin of a threshold; NULL unless the threshold is a multiple of 0.01 and at most 10.
create or replace macro threshold_bin(threshold) as case
    when threshold <= 10 and round(threshold * 100) / 100 = threshold
        then round(threshold * 100)::integer
end;

-- A bound of the Wilson score interval of a share, in percent, as `score_interval` computes it.
create or replace macro share_bound(hits, items, z) as
    100 * (hits + z * z / 2 + z * sqrt(hits * (items - hits) / nullif(items, 0) + z * z / 4))
    / (items + z * z);

create or replace macro share_low(hits, items) as share_bound(hits, items, -1.959964);

create or replace macro share_high(hits, items) as share_bound(hits, items, 1.959964);

-- The lines of a file, read as CSV without separators: the JSON reader of DuckDB 1.3 and 1.4 reads
-- beyond the end of a damaged line.
create or replace macro lines_of(file) as table
    select line
    from read_csv(
        file,
        columns = {{'line': 'varchar'}}, header = false, auto_detect = false,
        delim = '', quote = '', escape = '', strict_mode = false, ignore_errors = true
    );
