"""Scenes, drawing and language of the microworld."""

import hashlib
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import csrdata
from csrdata.params import load_params
from csrdata.sections.models import MicroworldModels
from csrdata.sections.sources import MicroworldSource
from csrdata.sources.microworld.drawing import IMAGE_SIZE, draw
from csrdata.sources.microworld.language import (
    NEGATIVE_KINDS,
    PLACE_PHRASES,
    SENTENCE_PATTERNS,
    policy_caption,
    questions,
    sentence,
    true_caption,
)
from csrdata.sources.microworld.parsing import Claim, all_sentences, read
from csrdata.sources.microworld.truth import judge_claim
from csrdata.sources.microworld.world import (
    COLOURS,
    PLACES,
    SHAPES,
    SPLITS,
    THEMES,
    WORLD_VERSION,
    Scene,
    SceneObject,
    sample_scene,
    sample_scenes,
    scene_objects,
    split_of,
    stable_random,
    stereotypes_of,
)

SHIPPED = load_params(Path(csrdata.__file__).parent / "profiles/microworld.yaml")
SCENE = Scene(
    "by-hand",
    "harbour",
    (SceneObject("circle", "red", "top left"), SceneObject("crescent", "blue", "bottom")),
)


def test_every_sentence_is_read_back() -> None:
    """Parsing is the exact inverse of `sentence`, for every pattern, phrase, shape, colour and place."""
    for shape in SHAPES:
        for colour in COLOURS:
            for place in PLACES:
                for pattern in range(len(SENTENCE_PATTERNS)):
                    for phrase in range(len(PLACE_PHRASES[place])):
                        text = sentence(SceneObject(shape, colour, place), pattern=pattern, phrase=phrase)
                        assert read(text) == Claim(shape, colour, place)


def test_no_two_things_are_said_alike() -> None:
    """Every combination gives a different sentence."""
    phrases = sum(len(each) for each in PLACE_PHRASES.values())
    assert len(all_sentences()) == len(SHAPES) * len(COLOURS) * len(SENTENCE_PATTERNS) * phrases


@pytest.mark.parametrize(
    "text",
    [
        "",
        "There is a red circle.",
        "There is an red circle at the top left.",
        "There is a red circle at the top left",
        "There is a red red circle at the top left.",
        "there is a red circle at the top left.",
    ],
)
def test_what_is_not_grammatical_is_not_read(text: str) -> None:
    """A sentence that the language cannot generate is malformed."""
    assert read(text) is None


def test_scenes_do_not_depend_on_order() -> None:
    """The n-th scene of a split is the same, whatever was drawn before it."""
    forwards = [sample_scene(split="train", index=index, seed=3) for index in range(20)]
    backwards = [sample_scene(split="train", index=index, seed=3) for index in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert sample_scene(split="train", index=7, seed=4).objects != forwards[7].objects


def test_no_two_splits_share_a_set_of_objects() -> None:
    """At the shipped sizes, no set of (shape, colour, place) is in two splits, whatever their themes."""
    source, models = SHIPPED.source, SHIPPED.prepare
    assert isinstance(source, MicroworldSource)
    assert isinstance(models, MicroworldModels)
    drawn = {
        "scorer": (models.scorer_images, models.seed),
        "held_out_scorer": (models.scorer_images, models.seed),
        "policy": (models.policy_images, models.seed),
        "train": (source.train_images, source.seed),
        "validation": (source.validation_images, source.seed),
        "held_out": (source.held_out_images, source.seed),
        "out_of_distribution": (source.out_of_distribution_images, source.seed),
        "test": (source.test_images, source.test_seed),
    }
    assert set(drawn) == set(SPLITS)
    contents = {
        split: {frozenset(scene.objects) for scene in sample_scenes(split=split, count=count, seed=seed)}
        for split, (count, seed) in drawn.items()
    }
    assert [pair for pair in combinations(SPLITS, 2) if contents[pair[0]] & contents[pair[1]]] == []


@pytest.mark.parametrize("split", SPLITS)
def test_a_set_of_objects_belongs_to_one_split(split: str) -> None:
    """A scene has a set of its own split, whatever the seed and the order of the objects."""
    for seed in range(5):
        for scene in sample_scenes(split=split, count=20, seed=seed):
            assert split_of(scene.objects) == split_of(reversed(scene.objects)) == split


def test_splits_have_the_same_distribution() -> None:
    """Sizes and stereotypes are as frequent in every split of one theme: no frequent set is in one split alone."""
    themed = ("policy", "train", "validation", "held_out", "test")
    two, usual = {}, {}
    for split in themed:
        scenes = sample_scenes(split=split, count=3000, seed=5)
        two[split] = sum(len(scene.objects) == 2 for scene in scenes) / len(scenes)
        small = [scene for scene in scenes if len(scene.objects) == 2]
        usual[split] = sum(thing in stereotypes_of(scene) for scene in small for thing in scene.objects) / (
            2 * len(small)
        )
        frequent = Counter(frozenset(scene.objects) for scene in scenes).most_common(1)[0][1]
        assert frequent / len(scenes) < 0.006
    assert max(two.values()) - min(two.values()) < 0.04
    assert max(usual.values()) - min(usual.values()) < 0.07


@pytest.mark.parametrize("split", SPLITS)
def test_not_all_objects_of_a_scene_are_usual(split: str) -> None:
    """At least one object is no stereotype, or has another colour or place than usual."""
    for scene in sample_scenes(split=split, count=300, seed=2):
        assert not set(scene.objects) <= set(stereotypes_of(scene))


def test_the_version_of_the_world_is_raised_with_it() -> None:
    """Other scenes or questions need another `WORLD_VERSION`: raise it, then correct both values here."""
    text = repr(
        [
            (scene, questions(scene, seed=0))
            for split in SPLITS
            for scene in sample_scenes(split=split, count=20, seed=0)
        ]
    )
    assert (WORLD_VERSION, hashlib.sha256(text.encode()).hexdigest()[:16]) == (2, "5c2b804031f265fb")


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_holds_each_shape_and_place_once(split: str) -> None:
    """At most one object of each shape and at each place; 2 to 5 objects, 5 or 6 out of distribution."""
    mixed = split == "out_of_distribution"
    for scene in sample_scenes(split=split, count=300, seed=0):
        assert len(set(scene_objects(scene))) == len(scene.objects)
        assert len({thing.place for thing in scene.objects}) == len(scene.objects)
        assert len(scene.objects) in ((5, 6) if mixed else (2, 3, 4, 5))
        assert ("+" in scene.theme) == mixed


def test_an_unknown_split_is_refused() -> None:
    """The error lists the splits."""
    with pytest.raises(ValueError, match="split is 'tests', expected one of scorer, "):
        sample_scene(split="tests", index=0, seed=0)


def test_stereotypes_differ_in_shape() -> None:
    """A theme has one stereotype of a shape, and none of its common shapes is one."""
    for theme in THEMES:
        shapes = {thing.shape for thing in theme.stereotypes}
        assert len(shapes) == len(theme.stereotypes)
        assert not shapes & set(theme.common)


def test_true_captions_are_true() -> None:
    """Every sentence of a true caption holds, and every object is named once."""
    for scene in sample_scenes(split="scorer", count=100, seed=1):
        claims = [read(text) for text in true_caption(scene, stable_random(scene.scene_id))]
        assert all(claim is not None and judge_claim(scene, claim).true for claim in claims)
        assert sorted(claim.shape for claim in claims if claim) == sorted(scene_objects(scene))


def test_absent_stereotypes_are_named_at_the_rate() -> None:
    """Policy captions name absent stereotypes with the given chance, as usual in colour and place; all else is true."""
    absent = named = 0
    for scene in sample_scenes(split="policy", count=1500, seed=1):
        missing = {thing for thing in stereotypes_of(scene) if thing.shape not in scene_objects(scene)}
        claims = [
            read(text) for text in policy_caption(scene, stable_random(scene.scene_id), stereotype_rate=0.6)
        ]
        false = {
            SceneObject(claim.shape, claim.colour, claim.place)
            for claim in claims
            if claim is not None and not judge_claim(scene, claim).true
        }
        assert false <= missing
        assert None not in claims
        absent, named = absent + len(missing), named + len(false)
    assert 0.57 < named / absent < 0.63


def test_kinds_of_mistakes() -> None:
    """A false mention is a stereotype, else a look-alike of something present, else neither."""
    assert judge_claim(SCENE, Claim("ring", "orange", "right")).mistake == "stereotype"
    assert judge_claim(SCENE, Claim("heart", "blue", "right")).mistake == "look_alike"
    assert judge_claim(SCENE, Claim("star", "green", "bottom")).mistake == "look_alike"
    assert judge_claim(SCENE, Claim("heart", "green", "right")).mistake == "other"
    assert judge_claim(SCENE, Claim("star", "green", "right")).mistake == "other"
    wrong_colour = judge_claim(SCENE, Claim("circle", "blue", "top left"))
    assert wrong_colour.mistake is None
    assert wrong_colour.attribute_error
    assert judge_claim(SCENE, Claim("circle", "red", "top left")).true


def test_questions_are_balanced_and_true() -> None:
    """As many about present as about absent shapes, each shape once, and the stated answers hold."""
    kinds = set()
    for scene in sample_scenes(split="validation", count=200, seed=0):
        asked = questions(scene, seed=0)
        assert asked == questions(scene, seed=0)
        assert sum(each.answer for each in asked) * 2 == len(asked)
        assert len({each.shape for each in asked}) == len(asked)
        assert all(each.answer == (each.shape in scene_objects(scene)) for each in asked)
        kinds |= {each.kind for each in asked}
    assert kinds == {"present", *NEGATIVE_KINDS}


def test_drawing_is_deterministic() -> None:
    """The same scene gives the same pixels; another place or theme gives others."""
    image = draw(SCENE)
    assert image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, draw(SCENE))
    assert not np.array_equal(image, draw(Scene("by-hand", "night", SCENE.objects)))


def test_shapes_look_different() -> None:
    """No two shapes cover the same pixels."""
    looks = {
        draw(Scene("one", "night", (SceneObject(shape, "red", "centre"),))).tobytes() for shape in SHAPES
    }
    assert len(looks) == len(SHAPES)
