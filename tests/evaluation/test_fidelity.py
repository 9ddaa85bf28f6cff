"""Each metric on inputs with a known answer."""

from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save

from mnist_gen.data.mnist import to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation import scorer as scorer_file
from mnist_gen.evaluation.metrics import METRICS, OF_SAMPLES, RealImages, Samples, measure
from mnist_gen.evaluation.scorer import PACKAGED_SCORER, load_scorer, scorer_digest


class Labelled(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor


@pytest.fixture(scope="module")
def scorer():
    return load_scorer(None, "MNIST")


@pytest.fixture(scope="module")
def train(real):
    chosen = torch.randperm(55_000, generator=torch.Generator().manual_seed(0))[:10_000]
    images, labels = real["train"]
    return Labelled(to_images(images[chosen]), labels[chosen])


@pytest.fixture(scope="module")
def test(real):
    images, labels = real["test"]
    return Labelled(to_images(images), labels)


@pytest.fixture(scope="module")
def features(scorer, train, test):
    return {
        "train": fidelity.features_and_digits(scorer, train.images),
        "test": fidelity.features_and_digits(scorer, test.images),
    }


def test_the_packaged_scorer_is_good_enough(features, test):
    _, digits = features["test"]
    assert (digits == test.labels).float().mean() >= 0.996


def test_real_against_real_is_the_floor(features):
    (train, _), (test, _) = features["train"], features["test"]
    measured = fidelity.density_and_coverage(train, test)
    assert measured["coverage"] > 0.93
    assert measured["density"] == pytest.approx(1, abs=0.1)
    spread = test.var(dim=0).sum().item()
    assert fidelity.fid(train, test) < 0.01 * spread
    assert fidelity.fid(test, test) == pytest.approx(0, abs=1e-3 * spread)


def test_one_repeated_image_is_a_collapse(features, train):
    (_, _), (test, _) = features["train"], features["test"]
    repeated = test[:1].expand(10_000, -1)
    assert fidelity.density_and_coverage(repeated, test)["coverage"] < 0.01
    assert fidelity.fid(repeated, test) > 0.5 * test.var(dim=0).sum()


def test_shuffled_labels_are_a_tenth_right(features):
    _, digits = features["train"]
    labels = digits[torch.randperm(len(digits), generator=torch.Generator().manual_seed(1))]
    assert fidelity.class_accuracy(digits, labels)["class_accuracy"] == pytest.approx(0.1, abs=0.02)


def test_class_accuracy_names_the_worst_digit():
    digits, labels = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 1, 2, 2, 2])
    measured = fidelity.class_accuracy(digits, labels)
    assert measured["class_accuracy"] == pytest.approx(5 / 6)
    assert measured["worst_class"] == measured["class_accuracy_2"] == pytest.approx(2 / 3)
    assert measured["class_accuracy_0"] == 1


def test_digit_shares():
    shares = fidelity.digit_shares(torch.tensor([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
    assert shares == {"rarest_digit": pytest.approx(1 / 12), "commonest_digit": pytest.approx(3 / 12)}


def test_diversity_of_real_images_is_one_and_of_one_image_nothing(train, test):
    images, labels = train.images[:4000], train.labels[:4000]

    def diversity(images):
        return fidelity.diversity(images, labels, test.images[:4000], test.labels[:4000])

    assert diversity(images)["diversity"] == pytest.approx(1, abs=0.03)
    same_per_digit = torch.stack([images[labels == digit][0] for digit in range(10)])
    collapsed = diversity(same_per_digit[labels])
    assert collapsed == {"diversity": pytest.approx(0, abs=1e-3), "worst_diversity": pytest.approx(0, abs=1e-3)}
    one_collapsed = torch.where((labels == 7)[:, None, None, None], same_per_digit[7], images)
    assert diversity(one_collapsed)["worst_diversity"] == pytest.approx(0, abs=1e-3)


def test_nearest_distance_finds_the_image_itself(real):
    raw, _ = real["train"]
    training = raw[:3000]
    distances = fidelity.nearest_distance(to_images(raw[2990:3010]), training)
    assert distances[:10].max() < 1e-2
    assert distances[10:].min() > 1
    by_hand = torch.cdist(to_images(raw[3000:3001]).flatten(1), to_images(training).flatten(1)).min()
    assert distances[10].item() == pytest.approx(by_hand.item(), rel=1e-4)


def test_memorised_is_one_for_training_images_and_little_for_new_ones(real, test):
    raw, _ = real["train"]
    training, held_out = raw[:5000], to_images(raw[6000:7000])
    limit = fidelity.memorisation_limit(held_out, training)
    assert fidelity.memorised(to_images(training[:200]), training, limit) == 1
    assert fidelity.memorised(held_out, training, limit) == pytest.approx(0.01)
    assert fidelity.memorised(test.images[:1000], training, limit) < 0.03


def test_cas_learns_from_real_images_and_not_from_wrong_labels(train, test):
    few, wrong = slice(2000), train.labels.roll(1)
    good, bad = (
        fidelity.cas(train.images[few], labels[few], test.images[few], test.labels[few], epochs=6)
        for labels in (train.labels, wrong)
    )
    assert good > 0.9
    assert bad < 0.3


def test_cas_repeats_and_leaves_the_random_state_alone(train, test):
    state = torch.get_rng_state()
    seen, asked = (train.images[:500], train.labels[:500]), (test.images[:500], test.labels[:500])
    scores = {fidelity.cas(*seen, *asked, epochs=1) for _ in "ab"}
    assert len(scores) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_fresh_cas_sees_new_samples_in_each_epoch(train, test, monkeypatch):
    asked, first = (test.images[:300], test.labels[:300]), (train.images[:300], train.labels[:300])
    assert fidelity.cas(*first, *asked, renew=lambda _: first) == fidelity.cas(*first, *asked)
    learned, cross_entropy = [], fidelity.F.cross_entropy
    monkeypatch.setattr(fidelity.F, "cross_entropy", lambda x, y: learned.append(y.clone()) or cross_entropy(x, y))

    def renew(epoch):
        some = slice(300 * epoch, 300 * (epoch + 1))
        return train.images[some], train.labels[some]

    fidelity.cas(*first, *asked, renew=renew)
    epochs = torch.cat(learned).split(300)
    assert [epoch.bincount().tolist() for epoch in epochs] == [
        renew(number)[1].bincount().tolist() for number in range(3)
    ]


def test_each_metric_applies_to_the_samples_it_is_declared_for(scorer, real, train, test):
    features, _ = fidelity.features_and_digits(scorer, test.images[:300])
    reference = RealImages(test.images[:300], test.labels[:300], features)
    labelled = Samples(train.images[:300], train.labels[:300], scorer, reference)
    metrics = measure(labelled)
    assert list(metrics) == [
        m.name for m in OF_SAMPLES if m.labels is not False and m.name not in ("memorised", "cas", "cas_fresh")
    ]  # these need training images
    assert all(type(value) is float for value in metrics.values())
    assert all(
        measure(labelled, validation=True)[m.name] == metrics[m.name]
        for m in OF_SAMPLES
        if m.name in metrics and m.validation
    )
    unlabelled = Samples(labelled.images, None, scorer, reference)
    assert list(measure(unlabelled)) == ["fid", "density", "coverage", "rarest_digit", "commonest_digit", "sharpness"]
    raw, labels = real["train"]
    limit = fidelity.memorisation_limit(test.images[:300], raw[:500])
    known = RealImages(test.images[:300], test.labels[:300], features, raw[:500], limit)
    few = (train.images[:500], train.labels[:500], known.images, known.labels)
    copies = Samples(to_images(raw[:50]), labels[:50], scorer, known, cas=lambda: fidelity.cas(*few))
    measured = measure(copies)
    assert measured["memorised"] == 1
    assert 0.1 < measured["cas"] < 1
    copies.unseen, copies.cas = test.images[:300], None
    assert measure(copies)["memorised"] < 0.05
    assert "cas" not in measure(copies)


def test_declarations_have_unique_names_and_known_directions():
    assert len(METRICS) > 40
    assert {metric.better for metric in METRICS.values()} == {"higher", "lower", ""}
    assert [m.name for m in METRICS.values() if m.digit == 3] == ["class_accuracy_3", "f1_3", "becomes_3"]
    assert METRICS["accuracy_std"].deviation_of == "accuracy"


def test_a_blurred_image_is_less_sharp():
    dot, black = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    dot[0, 0, 4, 4] = 1
    images = torch.cat([dot, 0.5 * dot, torch.nn.functional.avg_pool2d(dot, 3, 1, 1), black])
    sharp, dim, blurred, none = fidelity.sharpness(images).tolist()
    assert sharp == dim == 4  # a step at each side
    assert blurred == pytest.approx(12 / 9)
    assert none == 0


def test_too_few_real_images_for_the_neighbours():
    with pytest.raises(UserError, match="5 neighbours need more than 5 real images"):
        fidelity.density_and_coverage(torch.rand(10, 4), torch.rand(5, 4))


def test_unusable_scorers(tmp_path):
    with pytest.raises(UserError, match="no such file; make one with"):
        load_scorer(str(tmp_path / "none"), "MNIST")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk")
    with pytest.raises(UserError, match="not a scorer"):
        load_scorer(str(junk), "MNIST")
    with pytest.raises(UserError, match="was trained on MNIST"):
        load_scorer(None, "KMNIST")


def test_a_damaged_scorer_in_the_package_is_noticed(monkeypatch):
    assert scorer_digest(None) == PACKAGED_SCORER
    monkeypatch.setattr(scorer_file, "PACKAGED_SCORER", "0" * 64)
    with pytest.raises(UserError, match="scorer: the file in the package is damaged; install mnist_gen again"):
        load_scorer(None, "MNIST")


def test_a_scorer_with_values_that_are_none_is_refused(tmp_path):
    weights = {name: value.contiguous() for name, value in load_scorer(None, "MNIST").state_dict().items()}
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], torch.nan)
    (tmp_path / "scorer").write_bytes(save(weights, {"dataset": "MNIST"}))
    with pytest.raises(UserError, match=f"{name} holds values that are not finite"):
        load_scorer(str(tmp_path / "scorer"), "MNIST")
    (tmp_path / "scorer").write_bytes(save(weights))
    with pytest.raises(UserError, match="not a scorer"):
        load_scorer(str(tmp_path / "scorer"), "MNIST")
