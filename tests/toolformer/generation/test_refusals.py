import pytest
import torch
from transformers import DynamicCache, LogitsProcessor, StoppingCriteria
from transformers.generation import BaseStreamer, EosTokenCriteria, MaxLengthCriteria

from toolformer.errors import UnservedGenerationError
from toolformer.generation import toolformer_generate
from toolformer.generation.refusals import tools_by_name
from tools.calculator import Calculator

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow


class Halved(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores / 2


class AtOnce(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        return torch.ones(len(input_ids), dtype=torch.bool)


class Silent(BaseStreamer):
    def put(self, value):
        pass

    def end(self):
        pass


class Misnamed(Calculator):
    name = "not-a-name"


def generate(model, **changes):
    given = {
        "input_ids": torch.tensor([[5, 6], [7, 8]]),
        "max_new_tokens": 4,
        "tools": [],
        **changes,
    }
    return model.generate(**given, custom_generate=toolformer_generate)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"do_sample": True}, "settings of sample"),
        ({"num_beams": 2}, "settings of beam search"),
        ({"prompt_lookup_num_tokens": 2}, "settings of assisted generation"),
        ({"max_new_tokens": None, "max_length": 9}, "no max_new_tokens"),
        ({"streamer": Silent()}, "streamer"),
        ({"repetition_penalty": 1.2}, "RepetitionPenaltyLogitsProcessor"),
        ({"logits_processor": [Halved()]}, "Halved"),
        ({"stopping_criteria": [AtOnce()]}, "AtOnce"),
        ({"output_scores": True, "return_dict_in_generate": True}, "output_scores"),
        ({"cache_implementation": "static"}, "cache_implementation='static'"),
        ({"past_key_values": DynamicCache()}, "past_key_values"),
        ({"inputs_embeds": torch.zeros(2, 2, 32)}, "inputs_embeds"),
        ({"position_ids": torch.tensor([[3, 4], [3, 4]])}, "position_ids"),
        ({"attention_mask": torch.tensor([[1, 1], [1, 0]])}, "padding_side='left'"),
        ({"tools": ["WikiSearch"]}, "tools has 'WikiSearch', which is no tool"),
        ({"tools": [Calculator]}, "ready for use, as in tools="),
        ({"tools": [Calculator(), Calculator()]}, "'Calculator', a name that is there twice"),
        ({"tools": [Misnamed()]}, "'not-a-name', a name that cannot be written"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_decoding_with_calls_cannot_do_is_named(model, changes, named):
    with pytest.raises(UnservedGenerationError) as refused:
        generate(model, **changes)
    assert named in str(refused.value)


def test_a_tool_that_can_be_called_like_a_function_stays_a_tool():
    class Callable(Calculator):
        def __call__(self, expression: str) -> str:
            return expression

    tool = Callable()
    assert tools_by_name([tool]) == {"Calculator": tool}


@pytest.mark.parametrize("criterion", [MaxLengthCriteria(3), EosTokenCriteria(9)])
def test_criteria_other_than_the_configured_ones_are_refused(model, criterion):
    with pytest.raises(UnservedGenerationError, match=type(criterion).__name__):
        generate(model, stopping_criteria=[criterion])


def test_several_outcomes_are_refused(model):
    # Transformers itself does it, where it is told so by an argument.
    with pytest.raises(ValueError, match="num_return_sequences"):
        generate(model, num_return_sequences=2)


def test_model_in_training_mode_is_refused_and_left_as_it_is(model):
    model.train()
    with pytest.raises(UnservedGenerationError, match=r"call model\.eval\(\)"):
        generate(model)
    assert model.training


def test_what_transformers_prepares_itself_is_served(model):
    plain = generate(model)
    prepared = generate(
        model,
        attention_mask=torch.ones(2, 2, dtype=torch.long),
        position_ids=torch.tensor([[0, 1], [0, 1]]),
        use_cache=False,
        num_beams=1,
        do_sample=False,
    )
    assert prepared.tolist() == plain.tolist()
