"""English words that say nothing of what a text is about."""

_LIST = (
    "a an and are as at be been being but by did do does for from had has have he her his if in "
    "into is it its no nor not of on or over she so some such than that the their them then there "
    "these they this those to was were when where which while who whom whose will with would"
)
FUNCTION_WORDS = frozenset(_LIST.split())
