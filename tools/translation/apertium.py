"""Translation by Apertium: rules and dictionaries for pairs of languages, a Debian package each.

The program is run without a shell; texts are its standard input, never its arguments. Does not
install pairs.
"""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tools.errors import ToolCallError, ToolTimeoutError, ToolUnavailableError
from tools.translation.languages import apertium_codes
from tools.translation.program import Finished, OutputTooLongError, run_program
from tools.translation.translator import TranslationFailedError, unsupported_language

_PROGRAM = "apertium"
