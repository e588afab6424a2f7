import pytest

from trainer import Recipe, Schedule, Shape, stack_limit
from trainer.exceptions import BadShape
from trainer.proxy_model import initial_parameters, layout


@pytest.mark.parametrize(("width", "depth"), [(16, 3), (64, 4), (48, 2)])
def test_parameter_formulas_count_the_tensors(width: int, depth: int):
    shape = Shape(width=width, depth=depth)
    recipe = Recipe(shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=64)
    matrices = layout(recipe)
    hidden = sum(matrix.size for matrix in matrices if matrix.name not in {"embedding", "head"})
    assert shape.params_total == shape.params_active == hidden
    assert shape.parameters == sum(matrix.size for matrix in matrices) == initial_parameters(recipe).numel()
    assert shape.flops_per_token == 6 * hidden


def test_a_dense_proxy_has_12_depth_width_squared_parameters():
    assert Shape(width=32, depth=4).params_total == 12 * 4 * 32**2


def test_heads_default_to_a_width_of_16_and_belong_to_the_identity():
    assert Shape(width=64, depth=1).heads == 4
    assert Shape(width=8, depth=1).heads == 1
    assert Shape(width=64, depth=1) == Shape(width=64, depth=1, heads=4)
    assert Shape(width=64, depth=1) != Shape(width=64, depth=1, heads=2)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"width": 33, "depth": 1}, "width"),
        ({"width": 0, "depth": 1}, "width"),
        ({"width": 32, "depth": 0}, "depth"),
        ({"width": 32, "depth": 1.5}, "depth"),
        ({"width": 32, "depth": 1, "heads": 3}, "heads"),
        ({"width": 32, "depth": 1, "heads": 32}, "heads"),
        ({"width": 32, "depth": 1, "heads": 0}, "heads"),
        ({"width": 32, "depth": 1, "vocab_size": 1}, "vocab_size"),
        ({"width": 32, "depth": 1, "context": 0}, "context"),
    ],
)
def test_a_bad_shape_names_its_field_value_and_what_is_allowed(fields: dict[str, int], field: str):
    with pytest.raises(BadShape, match=rf"^shape: {field} is {fields[field]!r}; allowed: .+"):
        Shape(**fields)


def test_a_stack_holds_fewer_members_the_wider_they_are_and_at_least_one():
    limits = [stack_limit(Shape(width=width, depth=3), 256) for width in (16, 32, 64, 128, 1_024)]
    assert limits == [8, 8, 4, 2, 1]
    assert stack_limit(Shape(width=64, depth=3), 256, "cuda", free_bytes=1 << 33) > 4


@pytest.mark.parametrize(("device", "free_bytes"), [("cpu", None), ("cuda", 1 << 30)])
def test_a_stack_holds_fewer_members_the_larger_the_vocabulary(device: str, free_bytes: int | None):
    shapes = [Shape(width=16, depth=2, vocab_size=size) for size in (256, 1_024, 4_096, 50_304)]
    limits = [stack_limit(shape, 256, device, free_bytes=free_bytes) for shape in shapes]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] < limits[0]
