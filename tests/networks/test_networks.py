import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.networks.classifiers import Probe, Scorer
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder, StandardizedEncoder, WhitenedEncoder
from mnist_gen.networks.translators import EncoderDecoder
from tests.networks.conftest import IMAGES, count


def test_the_reports_autoencoder_exactly():
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
    assert Probe()(IMAGES).shape == (6, 10)


def test_standardised_codes():
    encoder = StandardizedEncoder(Encoder(7), 7)
    codes = encoder(IMAGES)
    assert torch.equal(codes, encoder.codes(IMAGES))
    encoder.fit(codes)
    assert torch.allclose(encoder(IMAGES).mean(dim=0), torch.zeros(7), atol=1e-5)
    assert torch.allclose(encoder(IMAGES).std(dim=0), torch.ones(7), atol=1e-4)


def test_whitened_codes_move_alike_in_all_directions():
    encoder = WhitenedEncoder(Encoder(3), 3)
    codes = encoder.codes(IMAGES)
    assert torch.equal(codes, encoder(IMAGES))
    changed = codes + torch.randn(6, 3) * torch.tensor([0.1, 0.5, 2.0])
    encoder.fit(codes, changed)
    moves = (changed - codes) / encoder.deviation @ encoder.whitening
    spread = moves.T @ moves
    assert torch.allclose(spread / spread[0, 0], torch.eye(3), atol=1e-3)
    assert encoder(IMAGES).square().mean().item() == pytest.approx(1, abs=1e-4)


def test_an_encoder_decoder_knows_an_image_by_its_code_alone():
    torch.manual_seed(0)
    network, codes = EncoderDecoder(code_dim=3, encoder_channels=2, decoder_channels=4), []
    made = network(torch.rand(50, 1, 32, 32) * 2 - 1)
    assert made.shape == (50, 1, 32, 32)
    assert -1 < made.min() < made.max() < 1
    with pytest.raises(UserError, match="data.batch_size=1: an encoder_decoder normalises batches"):
        network(torch.rand(1, 1, 32, 32))
    with network.standardize.register_forward_hook(lambda _, inputs, output: codes.append(output)):
        network(torch.rand(50, 1, 32, 32))
    assert torch.allclose(codes[0].mean(dim=0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(codes[0].std(dim=0, correction=0), torch.ones(3), atol=1e-2)
    network.eval()
    with network.standardize.register_forward_hook(lambda *_: codes[0][:2]):
        assert torch.equal(network(torch.rand(2, 1, 32, 32)), network(torch.zeros(2, 1, 32, 32)))
