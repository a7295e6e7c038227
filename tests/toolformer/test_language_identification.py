import pytest

from toolformer.language_identification import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The harbour was closed for the winter and the boats lay on the shore.", "en"),
        ("Der Hafen war den Winter über geschlossen, und die Boote lagen am Ufer.", "de"),
        ("Le port était fermé pour l'hiver et les bateaux étaient sur la rive.", "fr"),
        ("港口在冬天关闭，船只停在岸边。", "zh"),
    ],
)
def test_the_language_of_a_sentence(text, language):
    assert language_of(text) == language


@pytest.mark.parametrize("text", ["", "   \n", "12 / 4 = 3", "🌋 … –"])
def test_a_text_without_words_has_no_language(text):
    assert language_of(text) is None


def test_line_breaks_do_not_matter():
    # fastText refuses a line break.
    assert language_of("Le port était fermé\npour l'hiver\r\net les bateaux dormaient.") == "fr"


def test_only_the_beginning_is_read():
    english = "The harbour was closed for the winter and the boats lay on the shore. " * 10
    assert language_of(english + "Le port était fermé pour l'hiver. " * 500) == "en"
