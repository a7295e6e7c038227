"""What the command line prints of texts that strangers wrote."""

import polars as pl

from dagster_project.commands import console


def test_texts_of_strangers_do_not_steer_the_terminal(capsys):
    text = "[bold]\x1b[2J\x9b31m\x07 [x]\n\tend"
    console.say(text)
    console.error(text)
    console.frame(pl.DataFrame({text: [text]}))
    printed = capsys.readouterr()
    for each in (printed.out, printed.err):
        assert r"[bold]\x1b[2J\x9b31m\x07 [x]" in each
        assert not set("\x1b\x9b\x07") & set(each)
