from hypothesis import given
from hypothesis import strategies as st

from toolformer.forward.prefix_cache import SplitPrompt

PLAIN = st.text(alphabet="ab \nIO:", max_size=15)


@given(before=PLAIN, after=PLAIN, text=PLAIN)
def test_a_split_prompt_says_what_the_prompt_says(before, after, text):
    split = SplitPrompt.of(f"{before}{{text}}{after}")
    assert split.prefix + split.text_part(text) == f"{before}{text}{after}"
    assert not split.prefix.endswith(" ")
