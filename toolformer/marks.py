"""Marks of other people's tools in texts: chat turns, special tokens, GSM8K's calculations, HTML.

What is listed has one meaning only; a Markdown heading or `cout << x` is left alone.
"""

import re
from html.entities import html5

# Whatever stands between these bars is a special token: <|im_start|>, <｜User｜>, <turn|>.
_BARRED = r"<(?:\|[^\s|<>]{1,40}\||｜[^\s｜<>]{1,40}｜|\|[a-z_]{1,30}|[a-z_]{1,30}\|)>"
_TAGS = (
    "s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token|"
    "tool_call|tool_response|think|end_of_utterance|unused\\d{1,5}|(?:BOS|EOS|EOP|MASK)_TOKEN"
)
_BRACKETED = (
    "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|"
    "IMG|IMG_BREAK|IMG_END|MODEL_SETTINGS"
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
    r"(?:(<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>|<\|turn>)"
    r"(?:system|developer|user|assistant|model|tool|ipython)"
    r"|(<\|channel\|?>)(?:analysis|commentary|final|thought))(?=\s|<\|)[ \t]*(?:\r?\n)?"
)
# <<48/2=24>>24, and Calc-X's form of the same; the reader sees only the number behind the mark.
# Without an operator and with a blank in front it is code: 1 << 3 = 8 >> 2.
_SIGNS = r"-−–+*/x×·⋅÷^%$€£.,()\d\s"
_CALCULATION = re.compile(
    r"<<(?=[^=<>\n]*\d)(?=\S|[^=<>\n]*\d\s*[-−–+*/x×·⋅÷^])"
    rf"[{_SIGNS}]{{1,200}}=(?P<result>[{_SIGNS}=]*\d[.)%\s]*)>>"
    r"(?P<shown>(?=[ $€£]{0,2}[-+−–.(]?[$€£]?\d|[^\W\d_]))?"
)
_GADGET = re.compile(
    r"<gadget\b[^<>\n]{0,80}>[^<>]{1,400}</gadget>\s{0,4}<output>[^<>]{0,400}</output>\s{0,2}"
)
# The line that ends a solution of GSM8K: `#### 72`.
_ANSWER = r"(?:\r?\n)?^####[ \t]*[-−–+]?[$€£]?[-−–]?(?:\d[\d,]*+(?:\.\d+)?|\.\d+)(?:/\d+)?%?\.?"
_ANSWERS = re.compile(rf"{_ANSWER}[ \t]*(?=\r?$)", re.MULTILINE)
_LAST_ANSWER = re.compile(rf"{_ANSWER}\s*\Z", re.MULTILINE)
_TAG = re.compile(
    r"<(?P<end>/?)(?:[abiu]|br|hr|div|span|em|strong|font|img|h[1-6]|ul|ol|li|table|tr|t[dh]|su[bp]|p|"
    r"blockquote|code|pre|small|script|style)(?P<rest>\s[^<>]{0,300})?/?>"
)
_ENTITY = re.compile(r"&(?:#(?:\d{1,7}|[xX][\da-fA-F]{1,6})|(?P<name>[A-Za-z][A-Za-z\d]{1,30}));")
# Bytes of UTF-8 as Windows-1252 shows them: those behind the first of a character, and sequences of
# which no word has the like. A capital letter may stand in front of a closing quotation mark.
_BEHIND = "[\xa0-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_MISREAD = re.compile(
    rf"(?<![A-ZÀ-Þ])[ÂÃ]{_BEHIND}|â[€‚„†ˆ‰œ]{_BEHIND}|ðŸ{_BEHIND}{{2}}"
    rf"|(?:[Ä-ß]{_BEHIND}|[á-ï]{_BEHIND}{{2}}){{2,}}"
)
# What stands around a mark may be one without it. From the second time on a blank stands for a
# mark, so that nested ones come to an end.
_STANDS_FOR_MARK = ("", " ", " ", " ")


def broken_mark(mark: re.Match[str]) -> str:
    """A mark with a blank behind its first character, which nobody takes for one any more."""
    return f"{mark[0][0]} {mark[0][1:]}"


def strip_marks(text: str) -> tuple[str, int]:
    r"""Takes the marks out of a text.

    A calculation whose result is not written behind it leaves the result.

    Returns:
        The text without them, and how many marks there were.

    Example:
        >>> strip_marks("She packed 48/2 = <<48/2=24>>24 jars.<|im_end|>\n#### 24")
        ('She packed 48/2 = 24 jars.', 3)
    """
    total = solutions = 0
    for filling in _STANDS_FOR_MARK:
        text = _ROLE.sub(r"\1\2", text)
        text, chat_marks = CHAT_MARKS.subn(filling, text)
        text, gadgets = _GADGET.subn(filling, text)
        text, calculations = _CALCULATION.subn(
            lambda mark: "" if mark["shown"] is not None else mark["result"].strip(), text
        )
        solutions += gadgets + calculations
        total += chat_marks + gadgets + calculations
        if not chat_marks + gadgets + calculations:
            break
    # Only a solution has such lines in its middle too: elsewhere they are headings.
    text, answers = (_ANSWERS if solutions else _LAST_ANSWER).subn("", text)
    return text, total + answers


def count_markup(text: str) -> int:
    """How many tags and entities of HTML, and characters of a wrong encoding, a text holds.

    Tags count where one of them ends an element or has attributes: one alone may be spoken of.

    Example:
        >>> count_markup("<p>36 &times; 24 rolls for Â£3, itâ€™s cheap.</p>")
        5
    """
    tags = list(_TAG.finditer(text)) if "<" in text else []
    is_written = any(tag["end"] or tag["rest"] for tag in tags)
    names = [entity["name"] for entity in _ENTITY.finditer(text)] if "&" in text else []
    entities = sum(name is None or f"{name};" in html5 for name in names)
    misread = [] if text.isascii() else _MISREAD.findall(text)
    return len(tags) * is_written + entities + len(misread)
