"""Removes chat markup, special tokens, GSM8K's calculations and calls from texts; counts HTML.

Only unambiguous markup is removed. A Markdown heading or `cout << x` stays.
"""

import re
from collections.abc import Callable, Sequence
from html.entities import html5
from typing import NamedTuple

# Any text between these bars is a special token: <|im_start|>, <｜User｜>, <turn|>.
_BARRED = r"<(?:\|[^\s|<>]{1,40}\||｜[^\s｜<>]{1,40}｜|\|[a-z_]{1,30}|[a-z_]{1,30}\|)>"
_TAGS = (
    "s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token|"
    "tool_call|tool_response|think|end_of_utterance|unused\\d{1,5}|(?:BOS|EOS|EOP|MASK)_TOKEN"
)
_BRACKETED = (
    "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|"
    "IMG|IMG_BREAK|IMG_END|MODEL_SETTINGS"
)
# The headings of Alpaca and Vicuna are not special tokens, but they also end a turn.
_HEADINGS = "Instruction|Response|Input|Human|Assistant|User|System"
# Text that a chat template or its tokenizer would take for the boundary of a turn.
CHAT_MARKUP = re.compile(
    rf"{_BARRED}|</?(?:{_TAGS})>|\[/?(?:{_BRACKETED})\]|<</?SYS>>"
    rf"|^### ?(?:{_HEADINGS}):(?=\s)",
    re.MULTILINE,
)
# The name of a role belongs to the special token before it.
_ROLE = re.compile(
    r"(?:(<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>|<\|turn>)"
    r"(?:system|developer|user|assistant|model|tool|ipython)"
    r"|(<\|channel\|?>)(?:analysis|commentary|final|thought))(?=\s|<\|)[ \t]*(?:\r?\n)?"
)
# A calculation as GSM8K annotates it, <<48/2=24>>24: people read only the number after >>. Text
# with a space after << and no operator is code: 1 << 3 = 8 >> 2. `_GADGET` matches Calc-X's
# notation.
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
# Calls as this project exports them, and other spellings of the paper's form:
# 29 [Calculator(2 * 3) → 6] 6. The space before the bracket belongs to the call. Without an arrow,
# only <API> distinguishes a call from a link.
_CALL = re.compile(
    r" ?(?:(?P<tagged><API>\s{0,3})|\[)(?P<tool>[A-Za-z_][A-Za-z0-9_]*)\("
    r"(?>(?P<expression>(?:(?!<API>)[^\[\]]){0,2000}?)\)\s{0,3}(?:->|→|(?=</API>)))"
    r"(?P<result>(?:(?!<API>)[^\[\]\n]){0,2000}?)(?(tagged)</API>|\])"
)
# Calls as ToolkenGPT writes them: <mul>(7, 24)=168</mul>168.
_TOOLKEN = re.compile(
    r"<(?P<tool>[A-Za-z_][A-Za-z0-9_]*)>\((?P<expression>[^<>\n]{0,400})\)="
    r"(?P<result>[^<>\n]{0,400})</(?P=tool)>"
)
# Text between << and >> that `_CALCULATION` cannot parse. Code has a space after << or before >>,
# and chunk names of literate programs have an equals sign after >>, so neither matches.
_UNPARSED = re.compile(r"<<(?=\S)(?=[^<>\n]*\d)[^<>=\n]{1,200}=[^<>\n]{0,200}(?<=\S)>>(?!=)")
# The line that ends a solution of GSM8K: `#### 72`.
_ANSWER = r"(?:\r?\n)?^####[ \t]*[-−–+]?[$€£]?[-−–]?(?:\d[\d,]*+(?:\.\d+)?|\.\d+)(?:/\d+)?%?\.?"
_ANSWERS = re.compile(rf"{_ANSWER}[ \t]*(?=\r?$)", re.MULTILINE)
_LAST_ANSWER = re.compile(rf"{_ANSWER}\s*\Z", re.MULTILINE)
_TAG = re.compile(
    r"<(?P<end>/?)(?:[abiu]|br|hr|div|span|em|strong|font|img|h[1-6]|ul|ol|li|table|tr|t[dh]|su[bp]|p|"
    r"blockquote|code|pre|small|script|style)(?P<rest>\s[^<>]{0,300})?/?>"
)
_ENTITY = re.compile(r"&(?:#(?:\d{1,7}|[xX][\da-fA-F]{1,6})|(?P<name>[A-Za-z][A-Za-z\d]{1,30}));")
# Signs of UTF-8 decoded as Windows-1252: continuation bytes, and sequences that occur in no word. A
# capital letter such as Â may legitimately precede a closing quotation mark.
_CONTINUATION = "[\xa0-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_MISREAD_START = re.compile(rf"[Â-ð]{_CONTINUATION}")
_MISREAD = re.compile(
    rf"(?<![A-ZÀ-Þ])[ÂÃ]{_CONTINUATION}|â[€‚„†ˆ‰œ]{_CONTINUATION}|ðŸ{_CONTINUATION}{{2}}"
    rf"|(?:[Ä-ß]{_CONTINUATION}|[á-ï]{_CONTINUATION}{{2}}){{2,}}"
)
# Every match of a pattern contains one of its strings. Most texts contain none of them, and
# searching for a string is far cheaper than matching.
_REQUIRED_TEXTS = {
    _ROLE: ("<",),
    CHAT_MARKUP: ("<", "[", "###"),
    _GADGET: ("<gadget",),
    _CALL: ("->", "→", "</API>"),
    _TOOLKEN: (")=",),
    _CALCULATION: ("<<",),
    _ANSWERS: ("####",),
    _LAST_ANSWER: ("####",),
}
# Removing markup can join the text around it into new markup, so there are several passes. From the
# second pass on, a space replaces markup, which keeps the surrounding text from joining again.
_REPLACEMENTS = ("", " ", " ", " ")


class Calculation(NamedTuple):
    """An annotated calculation or a call that was removed from a text.

    `offset` is the character in the stripped text at which the visible result begins. `tool` is
    None for a calculation.
    """

    offset: int
    expression: str
    result: str
    tool: str | None = None


class Stripped(NamedTuple):
    """A text without markup, the number of removed pieces, and the calculations and calls in it."""

    text: str
    marks: int
    calculations: Sequence[Calculation]


def defused_markup(match: re.Match[str]) -> str:
    """Return markup with a space after its first character, which makes it plain text."""
    return f"{match[0][0]} {match[0][1:]}"


def strip_markup(text: str) -> Stripped:
    r"""Remove the markup of a text, and return its calculations and calls.

    A calculation without a visible result after it is replaced by its result.

    Example:
        >>> strip_markup("She packed 48/2 = <<48/2=24>>24 jars.<|im_end|>\n#### 24")[:2]
        ('She packed 48/2 = 24 jars.', 3)
    """
    # All markup contains one of these characters.
    if not any(sign in text for sign in "<[#"):
        return Stripped(text, 0, [])
    total = num_calculations = 0
    calculations: list[Calculation] = []

    def replace(pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]) -> int:
        nonlocal text, calculations
        if not any(required in text for required in _REQUIRED_TEXTS[pattern]):
            return 0
        text, calculations, count = _replaced(pattern, replacement, text, calculations)
        return count

    for replacement in _REPLACEMENTS:
        replace(_ROLE, lambda match: match.expand(r"\1\2"))
        chat_markup = replace(CHAT_MARKUP, lambda _, replacement=replacement: replacement)
        gadgets = replace(_GADGET, lambda _, replacement=replacement: replacement)
        calls = replace(_CALL, lambda _, replacement=replacement: replacement)
        calls += replace(_TOOLKEN, lambda _, replacement=replacement: replacement)
        calculations_removed = replace(
            _CALCULATION,
            lambda match: "" if match["shown"] is not None else match["result"].strip(),
        )
        num_calculations += gadgets + calculations_removed
        num_removed = chat_markup + gadgets + calls + calculations_removed
        total += num_removed
        if not num_removed:
            break
    # In a text with calculations, every such line is an answer. In other texts only the last line
    # can be one, and earlier ones are headings.
    answers = replace(_ANSWERS if num_calculations else _LAST_ANSWER, lambda _: "")
    return Stripped(text, total + answers, calculations)


def count_unreadable(text: str) -> int:
    """Count annotations such as <<6*n=30>> that look like calculations but cannot be parsed.

    Example:
        >>> count_unreadable("It costs <<6*n=30>>30.")
        1
    """
    return len(_UNPARSED.findall(text)) if "<<" in text else 0


def _replaced(
    pattern: re.Pattern[str],
    replacement: Callable[[re.Match[str]], str],
    text: str,
    calculations: Sequence[Calculation],
) -> tuple[str, list[Calculation], int]:
    """Replace like `re.subn`; shift the offsets of `calculations`, and add those in the matches."""
    pieces: list[str] = []
    shifted: list[Calculation] = []
    end = length = num_shifted = count = 0

    def shift_before(bound: int, *, shift: int, max_offset: int) -> None:
        nonlocal num_shifted
        while num_shifted < len(calculations) and calculations[num_shifted].offset < bound:
            offset = min(calculations[num_shifted].offset + shift, max_offset)
            shifted.append(calculations[num_shifted]._replace(offset=offset))
            num_shifted += 1

    for match in pattern.finditer(text):
        count += 1
        start = length + match.start() - end
        # A calculation inside the replaced text moves to its start.
        shift_before(match.end(), shift=length - end, max_offset=start)
        if "expression" in pattern.groupindex:
            tool, result = match.groupdict().get("tool"), match["result"]
            result = result if tool else result.rpartition("=")[2]
            shifted.append(Calculation(start, match["expression"].strip(), result.strip(), tool))
        pieces += text[end : match.start()], replacement(match)
        end, length = match.end(), start + len(pieces[-1])
    shift_before(len(text) + 1, shift=length - end, max_offset=len(text))
    return "".join([*pieces, text[end:]]), shifted, count


def count_html(text: str) -> int:
    """Count the HTML tags, HTML entities and wrongly decoded characters of a text.

    Tags only count if at least one is an end tag or has attributes. Otherwise the text may just
    mention a tag.

    Example:
        >>> count_html("<p>36 &times; 24 rolls for Â£3, itâ€™s cheap.</p>")
        5
    """
    tags = list(_TAG.finditer(text)) if "<" in text else []
    is_html = any(tag["end"] or tag["rest"] for tag in tags)
    names = [entity["name"] for entity in _ENTITY.finditer(text)] if "&" in text else []
    entities = sum(name is None or f"{name};" in html5 for name in names)
    misread = _MISREAD.findall(text) if _MISREAD_START.search(text) else []
    return len(tags) * is_html + entities + len(misread)
