import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder, StandardizedEncoder, WideEncoder
from mnist_gen.networks.translators import EncoderDecoder
from tests.networks.conftest import IMAGES, count


def test_student_reports_autoencoder():
    encoder, decoder = Encoder(), Decoder()
    assert count(encoder) == 103_440
    assert count(decoder) == 107_249
    latents = encoder(IMAGES)
    assert latents.shape == (6, 64)
    assert decoder(latents).shape == IMAGES.shape


def test_classifiers():
    scorer = Scorer().eval()
    assert scorer.features(IMAGES).shape == (6, 128)
    assert torch.equal(scorer(IMAGES), scorer.head(scorer.features(IMAGES)))
    assert WideEncoder(10, 16)(IMAGES).shape == (6, 10)


def test_standardized_latents():
    encoder = StandardizedEncoder(Encoder(7), 7)
    latents = encoder(IMAGES)
    assert torch.equal(latents, encoder.latents(IMAGES))
    encoder.fit(latents)
    assert torch.allclose(encoder(IMAGES).mean(dim=0), torch.zeros(7), atol=1e-5)
    assert torch.allclose(encoder(IMAGES).std(dim=0), torch.ones(7), atol=1e-4)


def test_whitening_equalizes_shifts_in_all_directions():
    encoder = StandardizedEncoder(Encoder(3), 3, whiten=True)
    latents = encoder.latents(IMAGES)
    assert torch.equal(latents, encoder(IMAGES))
    shifted = latents + torch.randn(6, 3) * torch.tensor([0.1, 0.5, 2.0])
    encoder.fit(latents, shifted)
    shifts = (shifted - latents) / encoder.deviation @ encoder.whitening
    covariance = shifts.T @ shifts
    assert torch.allclose(covariance / covariance[0, 0], torch.eye(3), atol=1e-3)
    assert encoder(IMAGES).square().mean().item() == pytest.approx(1, abs=1e-4)


def test_encoder_decoder_depends_on_the_latent_alone():
    torch.manual_seed(0)
    network, latents = EncoderDecoder(latent_dim=3, encoder_channels=2, decoder_channels=4), []
    outputs = network(torch.rand(50, 1, 32, 32) * 2 - 1)
    assert outputs.shape == (50, 1, 32, 32)
    assert -1 < outputs.min() < outputs.max() < 1
    with pytest.raises(UserError, match="data.batch_size=1: must be at least 2, because an encoder_decoder"):
        network(torch.rand(1, 1, 32, 32))
    with network.standardize.register_forward_hook(lambda _, inputs, output: latents.append(output)):
        network(torch.rand(50, 1, 32, 32))
    assert torch.allclose(latents[0].mean(dim=0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(latents[0].std(dim=0, correction=0), torch.ones(3), atol=1e-2)
    network.eval()
    with network.standardize.register_forward_hook(lambda *_: latents[0][:2]):
        assert torch.equal(network(torch.rand(2, 1, 32, 32)), network(torch.zeros(2, 1, 32, 32)))
