from dataclasses import replace

import pytest

from trainer import Member, Recipe, Schedule, Shape, Training, TrainingJob
from trainer.exceptions import BadJob, BadRecipe, BadSchedule

SHAPE = Shape(width=16, depth=1)
SCHEDULE = Schedule(warmup_tokens=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_tokens", 100),
        ("batch_tokens", 0),
        ("seed", -1),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("epsilon", 0.0),
        ("clip", float("nan")),
        ("weight_decay", -0.1),
        ("qk_scale", 0.0),
    ],
)
def test_a_bad_recipe_names_the_field(field, value):
    good = Recipe(shape=SHAPE, schedule=SCHEDULE, batch_tokens=128)
    with pytest.raises(BadRecipe, match=f"{field} is"):
        replace(good, **{field: value})


@pytest.mark.parametrize("rate", [0.0, -1e-3, float("nan"), float("inf")])
def test_a_learning_rate_is_positive_and_finite(rate):
    with pytest.raises(BadJob, match="learning_rate"):
        Member(learning_rate=rate, horizons=(1_000,))


@pytest.mark.parametrize("horizons", [(), (2_000, 1_000), (1_000, 1_000)])
def test_horizons_ascend(horizons):
    with pytest.raises(BadJob, match="horizons"):
        Member(learning_rate=1e-3, horizons=horizons)


def test_a_job_needs_members_and_horizons_that_are_a_batch_apart_and_beyond_the_warm_up():
    recipe = Recipe(shape=SHAPE, schedule=Schedule(warmup_tokens=1_280), batch_tokens=128)
    with pytest.raises(BadJob, match="no members"):
        TrainingJob(recipe=recipe, members=())
    with pytest.raises(BadJob, match="less than a batch"):
        TrainingJob(recipe=recipe, members=(Member(learning_rate=1e-3, horizons=(12_800, 12_801)),))
    with pytest.raises(BadSchedule, match="within the warm-up"):
        TrainingJob(recipe=recipe, members=(Member(learning_rate=1e-3, horizons=(1_280,)),))


def test_a_corpus_of_another_vocabulary_is_refused(corpus, make_job):
    with pytest.raises(BadJob, match="vocab_size is 300"):
        Training(make_job([1e-3], shape=Shape(width=16, depth=1, vocab_size=300)), corpus)
