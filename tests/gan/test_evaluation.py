"""Which samples a GAN is measured by."""

import torch

from mnist_gen.data.mnist import ImageSet
from mnist_gen.gan.evaluation import OTHER_SAMPLES, MeasureSamples
from tests.gan.conftest import gan


def measured(train, count, number=0):
    callback = MeasureSamples(None, val_samples=5, test_samples=5, cas=False, seed=3)
    return callback._sample(gan(), train, count, number)


def training_images():
    return ImageSet(torch.zeros(40, 28, 28, dtype=torch.uint8), torch.arange(40) % 10)


def test_samples_have_the_labels_of_the_training_images_that_give_the_floor():
    images, labels = measured(training_images(), 12)
    assert images.shape == (12, 1, 32, 32)
    assert torch.equal(labels, training_images().drawn(12, torch.Generator().manual_seed(3)).labels)
    other_images, other_labels = measured(training_images(), 12, number=1)
    assert torch.equal(
        other_labels, training_images().drawn(12, torch.Generator().manual_seed(3 + OTHER_SAMPLES)).labels
    )
    assert not torch.equal(images, other_images)


def test_more_samples_than_training_images_use_each_label_as_often():
    _, labels = measured(training_images(), 80)
    assert labels.bincount().tolist() == [8] * 10
    assert torch.equal(labels[:40], labels[40:])
