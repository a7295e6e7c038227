"""Marks of tools in texts: chat turns, special tokens, GSM8K's calculations, calls, HTML.

What is listed has one meaning only; a Markdown heading or `cout << x` is left alone.
"""

import re
from collections.abc import Callable, Sequence
from html.entities import html5
from typing import NamedTuple

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
CHAT_MARKUP = re.compile(
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
    rf"(?P<expression>[{_SIGNS}]{{1,200}})=(?P<result>[{_SIGNS}=]*\d[.)%\s]*)>>"
    r"(?P<shown>(?=[ $€£]{0,2}[-+−–.(]?[$€£]?\d|[^\W\d_]))?"
)
_GADGET = re.compile(
    r"<gadget\b[^<>\n]{0,80}>(?P<expression>[^<>]{1,400})</gadget>\s{0,4}"
    r"<output>(?P<result>[^<>]{0,400})</output>\s{0,2}"
)
# As this project exports texts, and as others write the paper's form: 29 [Calculator(2 * 3) → 6] 6.
# The blank in front belongs to the call. Without an arrow only <API> tells a call from a link.
_CALL = re.compile(
    r" ?(?:(?P<tagged><API>\s{0,3})|\[)(?P<tool>[A-Za-z_][A-Za-z0-9_]*)\("
    r"(?>(?P<expression>(?:(?!<API>)[^\[\]]){0,2000}?)\)\s{0,3}(?:->|→|(?=</API>)))"
    r"(?P<result>(?:(?!<API>)[^\[\]\n]){0,2000}?)(?(tagged)</API>|\])"
)
# As ToolkenGPT writes them: <mul>(7, 24)=168</mul>168.
_TOOLKEN = re.compile(
    r"<(?P<tool>[A-Za-z_][A-Za-z0-9_]*)>\((?P<expression>[^<>\n]{0,400})\)="
    r"(?P<result>[^<>\n]{0,400})</(?P=tool)>"
)
# Between the same signs, and still no calculation. In code a blank stands beside them, and behind
# the name of a chunk in a literate program an equals sign.
_UNREAD = re.compile(r"<<(?=\S)(?=[^<>\n]*\d)[^<>=\n]{1,200}=[^<>\n]{0,200}(?<=\S)>>(?!=)")
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
_MISREAD_START = re.compile(rf"[Â-ð]{_BEHIND}")
_MISREAD = re.compile(
    rf"(?<![A-ZÀ-Þ])[ÂÃ]{_BEHIND}|â[€‚„†ˆ‰œ]{_BEHIND}|ðŸ{_BEHIND}{{2}}"
    rf"|(?:[Ä-ß]{_BEHIND}|[á-ï]{_BEHIND}{{2}}){{2,}}"
)
# One of these is in every match. Most texts have none, and looking for them is far cheaper.
_STARTS = {
    _ROLE: ("<",),
    CHAT_MARKUP: ("<", "[", "###"),
    _GADGET: ("<gadget",),
    _CALL: ("->", "→", "</API>"),
    _TOOLKEN: (")=",),
    _CALCULATION: ("<<",),
    _ANSWERS: ("####",),
    _LAST_ANSWER: ("####",),
}
# What stands around a mark may be one without it. From the second time on a blank stands for a
# mark, so that nested ones come to an end.
_STANDS_FOR_MARK = ("", " ", " ", " ")


class Calculation(NamedTuple):
    """A calculation that people marked, or a call: where its mark stood, and what it says.

    Attributes:
        offset: in characters of the text without marks; the result that a reader sees follows.
        expression, result: as they are written, without blanks around them.
        tool: name of the called tool; None for a calculation.
    """

    offset: int
    expression: str
    result: str
    tool: str | None = None


class Stripped(NamedTuple):
    """A text without marks, how many there were, and the calculations and calls among them."""

    text: str
    marks: int
    calculations: Sequence[Calculation]


def defused_markup(mark: re.Match[str]) -> str:
    """A mark with a blank behind its first character, which nobody takes for one any more."""
    return f"{mark[0][0]} {mark[0][1:]}"


def strip_markup(text: str) -> Stripped:
    r"""Take the marks out of a text, and return where calculations and calls stood.

    A calculation whose result is not written behind it leaves the result.

    Example:
        >>> strip_markup("She packed 48/2 = <<48/2=24>>24 jars.<|im_end|>\n#### 24")[:2]
        ('She packed 48/2 = 24 jars.', 3)
        >>> strip_markup("She packed 48/2 = <<48/2=24>>24 jars.").calculations
        [Calculation(offset=18, expression='48/2', result='24', tool=None)]
    """
    # One of these is in every mark.
    if not any(sign in text for sign in "<[#"):
        return Stripped(text, 0, [])
    total = solutions = 0
    calculations: list[Calculation] = []

    def replace(pattern: re.Pattern[str], filling: Callable[[re.Match[str]], str]) -> int:
        nonlocal text, calculations
        if not any(start in text for start in _STARTS[pattern]):
            return 0
        text, calculations, count = _replaced(pattern, filling, text, calculations)
        return count

    for filling in _STANDS_FOR_MARK:
        replace(_ROLE, lambda mark: mark.expand(r"\1\2"))
        chat_marks = replace(CHAT_MARKUP, lambda _, filling=filling: filling)
        gadgets = replace(_GADGET, lambda _, filling=filling: filling)
        calls = replace(_CALL, lambda _, filling=filling: filling)
        calls += replace(_TOOLKEN, lambda _, filling=filling: filling)
        sums = replace(
            _CALCULATION, lambda mark: "" if mark["shown"] is not None else mark["result"].strip()
        )
        solutions += gadgets + sums
        found = chat_marks + gadgets + calls + sums
        total += found
        if not found:
            break
    # Only a solution has such lines in its middle too: elsewhere they are headings.
    answers = replace(_ANSWERS if solutions else _LAST_ANSWER, lambda _: "")
    return Stripped(text, total + answers, calculations)


def count_unreadable(text: str) -> int:
    """How many marks like those of calculations are none that can be read, and stay in a text.

    Example:
        >>> count_unreadable("It costs <<6*n=30>>30.")
        1
    """
    return len(_UNREAD.findall(text)) if "<<" in text else 0


def _replaced(
    pattern: re.Pattern[str],
    filling: Callable[[re.Match[str]], str],
    text: str,
    calculations: Sequence[Calculation],
) -> tuple[str, list[Calculation], int]:
    """As `re.subn`; the calculations move with the text, and those that are replaced join them."""
    pieces: list[str] = []
    moved: list[Calculation] = []
    end = length = done = count = 0

    def move_those_before(place: int, *, shift: int, most: int) -> None:
        nonlocal done
        while done < len(calculations) and calculations[done].offset < place:
            offset = min(calculations[done].offset + shift, most)
            moved.append(calculations[done]._replace(offset=offset))
            done += 1

    for mark in pattern.finditer(text):
        count += 1
        start = length + mark.start() - end
        # One that stood in what is replaced now stands in front of it.
        move_those_before(mark.end(), shift=length - end, most=start)
        if "expression" in pattern.groupindex:
            tool, result = mark.groupdict().get("tool"), mark["result"]
            result = result if tool else result.rpartition("=")[2]
            moved.append(Calculation(start, mark["expression"].strip(), result.strip(), tool))
        pieces += text[end : mark.start()], filling(mark)
        end, length = mark.end(), start + len(pieces[-1])
    move_those_before(len(text) + 1, shift=length - end, most=len(text))
    return "".join([*pieces, text[end:]]), moved, count


def count_html(text: str) -> int:
    """How many tags and entities of HTML, and characters of a wrong encoding, a text holds.

    Tags count where one of them ends an element or has attributes: one alone may be spoken of.

    Example:
        >>> count_html("<p>36 &times; 24 rolls for Â£3, itâ€™s cheap.</p>")
        5
    """
    tags = list(_TAG.finditer(text)) if "<" in text else []
    is_written = any(tag["end"] or tag["rest"] for tag in tags)
    names = [entity["name"] for entity in _ENTITY.finditer(text)] if "&" in text else []
    entities = sum(name is None or f"{name};" in html5 for name in names)
    misread = _MISREAD.findall(text) if _MISREAD_START.search(text) else []
    return len(tags) * is_written + entities + len(misread)
