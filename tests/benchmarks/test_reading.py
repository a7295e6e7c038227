"""The files hold the same texts, and our readers find all of them."""

from benchmarks import reading


def test_every_file_holds_the_texts_that_are_measured(tmp_path):
    size = reading._write(tmp_path, 1)
    assert size > 10**6
    for name in reading._FILES:
        assert reading._read(tmp_path / name)[0] == size
        assert reading._scan(tmp_path / name)[0] == size
