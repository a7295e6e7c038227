"""Marks of other people's tools."""

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from toolformer.markup import CHAT_MARKUP, Calculation, count_html, count_unreadable, strip_markup
from tools.protocol import ToolCall
from tools.syntax import format_call, insert_calls


@pytest.mark.parametrize(
    ("text", "stripped", "count"),
    [
        ("48/2 = <<48/2=24>>24 jars.\n#### 24", "48/2 = 24 jars.", 2),
        ("=$<<80000+50000=130000>>130,000", "=$130,000", 1),
        ("It takes 3*2=<<3*2=6>>$6.\n#### $6\n", "It takes 3*2=$6.\n", 2),
        # The result stands nowhere else.
        ("In all <<12 + 7 = 19>> jars", "In all 19 jars", 1),
        ("1+1=<<1+1=2>>2\n#### 2\n\n2+2=<<2+2=4>>4\n#### 4", "1+1=2\n\n2+2=4", 4),
        ('<gadget id="calculator">48/2</gadget>\n<output>24</output>\n24 jars', "24 jars", 1),
        ("<|im_start|>user\nHi<|im_end|>", "Hi", 2),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nHi<|eot_id|>", "\n\nHi", 3),
        ("<start_of_turn>model\nHi<end_of_turn>", "Hi", 2),
        ("<s>[INST] <<SYS>>Be brief.<</SYS>> Hi [/INST] Yes</s>", " Be brief. Hi  Yes", 6),
        ("<｜User｜>Hi<｜Assistant｜>Yes<｜end▁of▁sentence｜>", "HiYes", 3),
        ("### Instruction:\nAdd.\n### Response:\n4", "\nAdd.\n\n4", 2),
        ("Call <tool_call>x</tool_call> <|endoftext|>[/INST]", "Call x ", 4),
        ("<<5−2=3>>3 <<5·2=10>>10 <<5*2=10.>>10.", "3 10 10.", 3),
        ("<<24+24=48>>forty-eight", "forty-eight", 1),
        ("<<3+4=7>>7 dogs.\r\n#### 7\r\n", "7 dogs.\r\n", 2),
        ("x\r\n#### 72", "x", 1),
        ("x\n#### 3/4", "x", 1),
        ("x\n#### 72.", "x", 1),
        ("<|turn>user\nHi<turn|><|channel>thought\nHm<channel|>", "HiHm", 4),
        ("[MODEL_SETTINGS]<BOS_TOKEN>Hi<unused5><end_of_utterance>", "Hi", 4),
        ("<|start|>assistant<|channel|>analysis<|message|>hi", "hi", 3),
        # Calls, as this project exports them and as others write the paper's form.
        ("12 * 30 = [Calculator(12 * 30) -> 360] 360 seats", "12 * 30 = 360 seats", 1),
        ("400 (or [Calculator(400 / 1400) → 0.29] 29%)", "400 (or 29%)", 1),
        ("7*9 = <API>  Calculator(7*9)  →  63</API> 63", "7*9 = 63", 1),
        ("7*9 = <API>Calculator(7*9) → 63</API> 63, <API> MT(é) </API>so", "7*9 = 63,so", 2),
        (' [Calendar() -> Today is Friday.] [QA("(a → b)?") ->] On Friday', " On Friday", 2),
        ("7 * 24 = <mul>(7, 24)=168</mul>168, <b>(7)=8</i>", "7 * 24 = 168, <b>(7)=8</i>", 1),
        # Without the mark in their middle these are marks.
        ("<|im_<|x|>start|>user\nHi", " Hi", 2),
        ("a<s<s>>", "a ", 2),
        ("<<1+<<1+1=2>>2=3>>3", "3", 2),
    ],
)
def test_marks_are_taken_out_and_what_a_reader_sees_stays(text, stripped, count):
    assert strip_markup(text)[:2] == (stripped, count)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("48/2 = <<48/2=24>>24 jars, <<24+24=48>>48.", [(7, "48/2", "24"), (16, "24+24", "48")]),
        # Other marks in front and behind, and the line of the answer, move it or do not.
        ("<|im_start|>user\nIt is $<<2+2=4>>4<|im_end|>, no?\n#### 4", [(7, "2+2", "4")]),
        ("In all <<12 + 7 = 19>> jars, <<1+1=2>>2", [(7, "12 + 7", "19"), (16, "1+1", "2")]),
        ("<<2*3=6=6>>6", [(0, "2*3", "6")]),
        ('A <gadget id="calculator">48/2</gadget>\n<output>24</output>\n24', [(2, "48/2", "24")]),
        # One inside of another stands where that stood.
        ("a <<1+<<1+1=2>>2=3>>3", [(2, "1+1", "2"), (2, "1+2", "3")]),
        (
            "48/2 = <<48/2=24>>24.<|im_end|> 3 + 4 = [QA(a=b (c)?) -> x = 7] 7",
            [*((7, "48/2", "24"), (18, "a=b (c)?", "x = 7", "QA"))],
        ),
        ("7 + 3 = <add>(7, 3)=10</add>10", [(8, "7, 3", "10", "add")]),
        ("no mark, <|im_end|> and 1 << 3 = 8 >> 2", []),
    ],
)
def test_where_calculations_stood_is_said_in_the_text_without_marks(text, places):
    stripped = strip_markup(text)
    assert [*stripped.calculations] == [Calculation(*place) for place in places]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("<<n*6=30>>30 and <<6 apples=6>>6", 2),
        ("<<6*5=30>>30, cout << a << b = 3 >> c, <<fig1, width=5>>=", 0),
        ("1 << 3 = 8 >> 2, <<SYS>>, <<interface>>", 0),
    ],
)
def test_marks_that_say_no_calculation_are_counted_where_they_stay(text, count):
    text = strip_markup(text).text
    assert count_unreadable(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "cout << a << b = 3 >> c; x = 1 << 4; y = 8 >> 2",
        "1 << 3 = 8 >> 2, x |> f, <|>, <a |b>",
        "# Notes\n\n#### 2019\nA year.\n### Instructions\n### Input",
        "<<fig1, width=5>>=\nplot(1)",
        "a < b | c > d, [INSTALL], <table>, |x|, <<interface>>, {{ bos_token }}",
        "He was number #### 5 of them",
        "[Calculator(2 * 3)], [docs](a -> b), [f](x) -> y, x[f(a)] -> y, [Calculator(a[0]) -> 1]",
        "API(2) → 3, [2nd(x) -> y], [a b(c) -> d], [f(x) -> y, (g) => z",
    ],
)
def test_what_only_looks_like_a_mark_stays(text):
    assert strip_markup(text)[:2] == (text, 0)


@pytest.mark.parametrize(
    "piece",
    [
        *("<<", "<|a", "<<1=", "<gadget>", "#### 1", "<s", "1", "<s>>", "<gadget>1</gadget> "),
        *("[A(", "[A() -> ", "<API>A(", "<API>A() -> ", "<A>("),
    ],
)
def test_stripping_takes_no_quadratic_time(piece):
    began = time.process_time()
    strip_markup(piece * 20_000)
    strip_markup(f"#### {piece * 20_000}x")
    assert time.process_time() - began < 10


@given(
    text=st.text("ab1 [](){}→->\n"),
    calls=st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["", "a (b) → c"])), max_size=3),
)
def test_a_text_whose_calls_are_taken_out_is_the_text_before_the_export(text, calls):
    assume(strip_markup(text)[:2] == (text, 0))
    written = [format_call(ToolCall("QA", arguments), "x → (y)") for _, arguments in calls]
    offsets = [min(offset, len(text)) for offset, _ in calls]
    exported = insert_calls(text, [*zip(offsets, written, strict=True)])
    stripped = strip_markup(exported)
    assert (stripped.text, stripped.marks) == (text, len(calls))
    assert [mark.offset for mark in stripped.calculations] == sorted(offsets)


def test_marks_in_one_another_leave_none():
    stripped = strip_markup("<s" * 1_000 + ">" * 1_000).text
    assert not CHAT_MARKUP.search(stripped)


def test_every_mark_of_a_chat_is_found_by_one_pattern():
    text = "<|im_end|> </s> [/INST] <end_of_turn> <|eot_id|> <tool_response> ### Human: "
    assert len(CHAT_MARKUP.findall(text)) == 6


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("The cafÃ© sold 36 rolls for Â£3 each â€“ itâ€™s 108 in all.", 4),
        ("<p>The mill &amp; the bakery: 36 &times; 24 = 864.&nbsp;They&#39;re <b>glad</b>.</p>", 8),
        ('See <a href="x.html">this', 1),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚, å¤§é˜ª, ðŸ˜€, 3Â°, Â½, â‚¬5", 6),
        # What people write.
        ("AT&T, R&D; &c., x &lt y, ?a=1&copy=2, &foo;", 0),
        ("a < b > c, List<A>, cout << p >> q, a lone <b> or <table>, <s>, <think>", 0),
        ("“IRMÔ, «AMANHÃ», château, voilà…», Ångström, Ña, ß„, ð, Ç’", 0),
        (r"$36 \times 24$", 0),
    ],
)
def test_html_and_characters_of_a_wrong_encoding_are_counted(text, count):
    assert count_html(text) == count


@pytest.mark.parametrize("piece", ["<p", "<p ", "&a", "&#1", "Ã", "Ä€", "á€€", "</p>"])
def test_counting_takes_no_quadratic_time(piece):
    began = time.process_time()
    count_html(piece * 200_000)
    assert time.process_time() - began < 10
