"""Marks of other people's tools in texts: chat turns, special tokens, GSM8K's calculations.

What is listed has one meaning only; a Markdown heading or `cout << x` is left alone.
"""

import re

# Whatever stands between these bars is a special token: <|im_start|>, <|eot_id|>, <｜User｜>.
_BARRED = r"<(?:\|[^\s|<>]{1,40}\||｜[^\s｜<>]{1,40}｜)>"
_TAGS = (
    "s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token|"
    "tool_call|tool_response|think"
)
_BRACKETED = (
    "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|"
    "IMG|IMG_BREAK|IMG_END"
)
# Alpaca's and Vicuna's headings are no special tokens, but end a turn all the same.
_HEADINGS = "Instruction|Response|Input|Human|Assistant|User|System"
# What a chat template, or the tokenizer behind it, would take for the edge of a turn.
CHAT_MARKS = re.compile(
    rf"{_BARRED}|</?(?:{_TAGS})>|\[/?(?:{_BRACKETED})\]|<</?SYS>>"
    rf"|^### ?(?:{_HEADINGS}):(?=\s)",
    re.MULTILINE,
)
# The name of the role belongs to the mark in front of it.
_ROLE = re.compile(
    r"(<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>)"
    r"(?:system|developer|user|assistant|model|tool|ipython)(?=\s|<\|)[ \t]*\n?"
)
# <<48/2=24>>24, and Calc-X's form of the same; the reader sees only the number behind the mark.
_CALCULATION = re.compile(
    r"<<(?=[^=<>\n]*\d)[-+*/x×÷^%$€£.,()\d\s]{1,200}=(?P<result>[-+*/x×÷^%$€£=.,()\d\s]*\d[)%\s]*)>>"
    r"(?P<shown>(?=[ $€£]{0,2}[-+−.(]?[$€£]?\d))?"
)
_GADGET = re.compile(
    r"<gadget\b[^<>\n]{0,80}>[^<>]{1,400}</gadget>\s{0,4}<output>[^<>]{0,400}</output>\s{0,2}"
)
# The line that ends a solution of GSM8K: `#### 72`.
_NUMBER = r"[-−+]?[$€£]?[-−]?[\d,]*\.?\d+%?"
_ANSWER = re.compile(rf"\n?^####[ \t]*{_NUMBER}[ \t]*$", re.MULTILINE)
_LAST_ANSWER = re.compile(rf"\n?^####[ \t]*{_NUMBER}\s*\Z", re.MULTILINE)


def strip_marks(text: str) -> tuple[str, int]:
    r"""Takes the marks out of a text.

    A calculation whose result is not written behind it leaves the result.

    Returns:
        The text without them, and how many marks there were.

    Example:
        >>> strip_marks("She packed 48/2 = <<48/2=24>>24 jars.<|im_end|>\n#### 24")
        ('She packed 48/2 = 24 jars.', 3)
    """
    text = _ROLE.sub(r"\1", text)
    text, chat_marks = CHAT_MARKS.subn("", text)
    text, gadgets = _GADGET.subn("", text)
    text, calculations = _CALCULATION.subn(
        lambda mark: "" if mark["shown"] is not None else mark["result"].strip(), text
    )
    # Only a solution has such lines in its middle too: elsewhere they are headings.
    answer = _ANSWER if calculations or gadgets else _LAST_ANSWER
    text, answers = answer.subn("", text)
    return text, chat_marks + gadgets + calculations + answers
