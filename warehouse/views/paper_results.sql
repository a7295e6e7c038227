-- Scores of the paper's tables 3 to 7, without perplexities and the upper bound of MLQA.
--
-- Columns:
--   family: heading of the paper's table
--   benchmark: name of the benchmark in this project
--   benchmark_place: order of the benchmark in the tables, from 1
--   model: name of the model in the paper
--   model_place: order of the model in the tables, from 1
--   score: score in percent
with scores as (
    from (values
        (1, 'LAMA', 'lama-squad', 17.8, 19.2, 22.1, 33.8, 21.6, 26.8),
        (2, 'LAMA', 'lama-google-re', 4.9, 5.6, 6.3, 11.5, 2.9, 7.0),
        (3, 'LAMA', 'lama-trex', 31.9, 33.2, 34.9, 53.5, 30.1, 39.8),
        (4, 'Mathematics', 'asdiv', 7.5, 9.6, 14.8, 40.4, 6.0, 14.0),
        (5, 'Mathematics', 'svamp', 5.2, 5.0, 6.3, 29.4, 4.9, 10.0),
        (6, 'Mathematics', 'mawps', 9.9, 9.3, 15.0, 44.0, 7.9, 19.8),
        (7, 'Question answering', 'webquestions', 18.5, 18.4, 18.9, 26.3, 18.6, 29.0),
        (8, 'Question answering', 'nq', 12.8, 12.2, 12.6, 17.7, 11.4, 22.6),
        (9, 'Question answering', 'triviaqa', 43.9, 45.6, 46.7, 48.8, 45.7, 65.9),
        (10, 'MLQA', 'mlqa-es', 15.2, 15.7, 19.8, 20.6, 0.3, 3.4),
        (11, 'MLQA', 'mlqa-de', 16.5, 14.9, 11.9, 13.5, 0.1, 1.1),
        (12, 'MLQA', 'mlqa-hi', 1.3, 0.5, 1.2, 1.4, 1.1, 0.1),
        (13, 'MLQA', 'mlqa-vi', 8.2, 8.3, 10.1, 10.6, 0.2, 1.7),
        (14, 'MLQA', 'mlqa-zh', 18.2, 13.7, 15.0, 16.8, 0.7, 17.7),
        (15, 'MLQA', 'mlqa-ar', 8.2, 4.6, 3.1, 3.7, 0.1, 0.1),
        (16, 'Temporal', 'templama', 13.7, 12.9, 12.7, 16.3, 14.5, 15.5),
        (17, 'Temporal', 'dateset', 3.9, 2.9, 5.9, 27.3, 1.3, 0.8)
    ) as scores (
        benchmark_place, family, benchmark,
        "GPT-J", "GPT-J + CC", "Toolformer (disabled)", "Toolformer", "OPT (66B)", "GPT-3 (175B)"
    )
)

select
    family,
    benchmark,
    benchmark_place,
    model,
    list_position(
        ['GPT-J', 'GPT-J + CC', 'Toolformer (disabled)', 'Toolformer', 'OPT (66B)', 'GPT-3 (175B)'],
        model
    ) as model_place,
    score::double as score
from scores
unpivot (
    score for model in (
        "GPT-J", "GPT-J + CC", "Toolformer (disabled)", "Toolformer", "OPT (66B)", "GPT-3 (175B)"
    )
)
order by benchmark_place, model_place
