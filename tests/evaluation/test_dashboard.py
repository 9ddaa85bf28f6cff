"""What TensorBoard shows beside curves and pictures."""

import pytest
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from torch.utils.tensorboard import SummaryWriter

from mnist_gen.evaluation.dashboard import architecture, draw_graph
from tests.autoencoder.conftest import autoencoder
from tests.conftest import events
from tests.gan.conftest import gan


def text(folder, tag):
    return events(folder).Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()


def test_a_run_shows_charts_texts_and_results(fit, tmp_path):
    fit(tmp_path, "experiment=cgan_embed20")
    layout = Layout.FromString(events(tmp_path).Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {part.title: {chart.title: list(chart.multiline.tag) for chart in part.chart} for part in layout.category}
    assert list(charts) == ["losses", "quality", "digits"]
    assert charts["losses"] == {
        "losses": ["losses/loss_d", "losses/loss_g"],
        "learning rates": ["run/lr_generator", "run/lr_discriminator"],
    }
    assert charts["quality"]["fid"] == ["quality/fid", "test/fid", "test/fid_of_real_data"]
    assert charts["digits"] == {"class_accuracy": [f"val_digits/class_accuracy_{digit}" for digit in range(10)]}
    known = set(events(tmp_path).Tags()["scalars"])
    assert {tag for part in charts.values() for tags in part.values() for tag in tags} <= known
    assert "    embedding_dim: 20" in text(tmp_path, "configuration")
    assert text(tmp_path, "networks/generator").startswith("| layer | kind | output | parameters |\n")
    assert "| fid | " in text(tmp_path, "results")


def test_tables_of_networks_count_all_parameters():
    model = gan()
    for network, inputs in model.examples().values():
        total = sum(weight.numel() for weight in network.parameters())
        assert architecture(network, inputs).splitlines()[-1] == f"| all |  |  | {total:,} |"


@pytest.mark.parametrize("make", [gan, lambda: gan("model.concat=after", "model.label=onehot"), autoencoder])
def test_a_graph_shows_each_network(tmp_path, make):
    model = make()
    with SummaryWriter(str(tmp_path)) as writer:
        draw_graph(writer, model.examples())
    nodes = [node.name for node in events(tmp_path).Graph().node]
    for name in model.examples():
        assert any(f"[{name}]" in node for node in nodes), nodes
    assert model.training
