"""Requests to a server's chat completions."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from toolformer.errors import NoAnswersError, ServedModelError
from toolformer.served.http_client import CompletionsClient

REFUSED = "refused"
# Of an answer: many times what models write.
_MOST_BYTES = 4 * 2**20


class ChatClient(CompletionsClient):
    """Asks a chat model, at the address that a command was given; no answer is kept."""

    _address, _kept, _key_remedy = "--url", "", "Set OPENAI_API_KEY to its key."

    def answers(
        self, requests: Sequence[Mapping[str, Any]], *, progress: Callable[[int, int], None]
    ) -> list[dict[str, Any]]:
        """The `content` and `calls` of each answer; of a refused request why, as `refused`.

        Args:
            requests: fields of each, but for the model.
            progress: told how many are answered, of how many.

        Raises:
            ServedModelError: the server cannot be reached, or answers nothing whatever is asked.
        """
        bodies = [json.dumps({"model": self.model, "temperature": 0, **each}) for each in requests]
        return self._together([partial(self._message, body) for body in bodies], progress)

    def _message(self, body: str) -> dict[str, Any]:
        try:
            told = self._answer("POST", f"{self._urls[0]}/chat/completions", _MOST_BYTES, body)
            self.is_known()
            message = told["choices"][0]["message"]
            calls = [call["function"] for call in message.get("tool_calls") or ()]
            named = [{name: call[name] for name in ("name", "arguments")} for call in calls]
            return {"content": message.get("content"), "calls": named}
        except NoAnswersError:
            raise
        except ServedModelError as error:
            # What stands behind it is for completions.
            return {REFUSED: f"refused: {str(error).partition(').')[0]})"}
        except (AttributeError, LookupError, TypeError) as error:
            return {REFUSED: f"refused: not the form of OpenAI's chat completions ({error!r})"}
