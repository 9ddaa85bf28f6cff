import numpy as np
import pytest
import torch

from mnist_gen.runs import plots


def shown(figure):
    return [axes.images[0].get_array() for axes in figure.axes]


def test_grid_places_each_image(tmp_path):
    images = torch.zeros(20, 1, 32, 32)
    images[13] = 1  # row 1, column 3
    figure = plots.grid(images, 10, "title", ["a", "b"])
    (canvas,) = shown(figure)
    assert canvas.shape == (2 * 33 + 1, 10 * 33 + 1)
    assert (canvas[33 + 1 : 66, 3 * 33 + 1 : 4 * 33] == 1).all()
    assert (canvas == 1).sum() == 32 * 32
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert plots.save(figure, tmp_path / "new/folder/grid.png").stat().st_size > 0


def test_grid_with_a_ragged_last_row():
    (canvas,) = shown(plots.grid(torch.ones(7, 1, 32, 32), 5, "title"))
    assert canvas.shape == (2 * 33 + 1, 5 * 33 + 1)


def test_grids_side_by_side():
    figure = plots.side_by_side(
        {"epoch 1": torch.zeros(4, 1, 32, 32), "epoch 20": torch.ones(4, 1, 32, 32)}, 2, "title"
    )
    assert [axes.get_title() for axes in figure.axes] == ["epoch 1", "epoch 20"]


def test_many_grids_stand_in_several_rows_that_are_named():
    grids = {f"epoch {epoch}": torch.zeros(100, 1, 32, 32) for epoch in range(3)}
    figure = plots.side_by_side(grids, 10, "title", "0123456789")
    rows = [axes.get_subplotspec().rowspan.start for axes in figure.axes]
    assert rows == [0, 0, 1]
    named = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in figure.axes]
    assert named == [[*"0123456789"], [], [*"0123456789"]]
    assert figure.get_figwidth() < 9


def test_curves_label_their_axes():
    figure = plots.curves([1, 2], {"loss_d": [1.0, 0.5], "loss_g": [0.2, 0.3]}, "title", "loss")
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["loss_d", "loss_g"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


def test_sweep_leaves_a_gap_for_a_failed_job():
    figure = plots.sweep(
        {"embedding_dim": ["5", "20", "65"]}, {"fid": plots.Series([1.0, None, 0.5], [None] * 3)}, "title"
    )
    assert figure.axes[0].lines[0].get_xdata() == pytest.approx([0, 2])
    assert figure.axes[0].lines[0].get_linestyle() == "None"  # a line between single jobs would suggest a trend


def test_sweep_shows_the_values_behind_means():
    series = plots.Series([1.0, 0.5], [0.1, 0.2], single=([0.9, 1.1], [0.3, 0.7]))
    (axes,) = plots.sweep({"embedding dim": ["5", "20"]}, {"FID": series}, "title").axes
    points = [list(line.get_ydata()) for line in axes.lines if line.get_marker() == "."]
    assert points == [[0.9, 1.1], [0.3, 0.7]]
    (means,) = (container.lines[0] for container in axes.containers)
    assert means.get_linestyle() == "-"
    assert means.get_ydata() == pytest.approx([1.0, 0.5])


def test_a_constant_is_drawn_as_a_constant():
    series = plots.Series([0.99, 0.9900001], [None] * 2)
    (axes,) = plots.sweep({"seed": ["0", "1"]}, {"accuracy": series}, "title").axes
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(0.002 * 0.99, rel=1e-3)


def test_sweep_draws_no_line_between_names():
    figure = plots.sweep({"model/loss": ["bce", "hinge"]}, {"fid": plots.Series([1.0, 0.5], [None] * 2)}, "title")
    assert figure.axes[0].lines[0].get_linestyle() == "None"


def test_sweep_over_two_keys_draws_a_line_for_each_name_over_the_numbers():
    settings = {"arm": ["frozen", "frozen", "scratch", "scratch"], "labels": ["10", "50", "10", "50"]}
    series = plots.Series([0.7, 0.9, 0.4, 0.6], [0.1, 0.0, 0.2, 0.1], floor=0.95)
    figure = plots.sweep(settings, {"accuracy": series}, "title")
    (axes,) = figure.axes  # deviations are bars, not a chart
    first, second = (container.lines[0] for container in axes.containers)
    assert first.get_ydata() == pytest.approx([0.7, 0.9])
    assert second.get_ydata() == pytest.approx([0.4, 0.6])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10", "50"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["frozen", "scratch", "real data"]


def test_confusion_shows_percentages_of_each_row():
    figure = plots.confusion(np.array([[3, 1], [0, 0]]), "title")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["75.0", "25.0"]
    assert axes.images[0].get_array().tolist() == [[75, 25], [0, 0]]


def test_charts_share_a_legend():
    figure = plots.charts([0, 1], {"fid": {"a": [1.0, 2.0]}, "density": {"a": [3.0, 4.0]}}, "title", "share")
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [("share", "fid"), ("share", "density")]
    assert figure.axes[1].lines[0].get_ydata() == pytest.approx([3.0, 4.0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a"]


def test_scatter_draws_each_kind_of_points():
    charts = {"losses": {"an epoch": ([1.0, 2.0], [30.0, 4.0]), "the last": ([2.0], [4.0])}}
    figure = plots.scatter(charts, "title", "loss", "FID", logarithmic=True)
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("losses", "loss", "FID")
    assert axes.get_yscale() == "log"
    assert [kind.get_offsets().tolist() for kind in axes.collections] == [[[1, 30], [2, 4]], [[2, 4]]]


def test_an_architecture_has_a_row_for_each_part_and_a_box_for_each_layer():
    conv, linear = ("Conv2d", "4x16x16", "40"), ("Linear", "1", "5")
    parts = [("body: 1x32x32 to 4x16x16", [conv, conv]), ("score: 4 to 1", [linear])]
    networks = {f"network {number}": parts for number in range(len(plots.COLOURS) + 1)}
    (axes,) = plots.architecture(networks, "title").axes
    texts = [text.get_text() for text in axes.texts]
    assert texts[:4] == ["network 0", "body: 1x32x32 to 4x16x16", "Conv2d\n4x16x16\n40", "Conv2d\n4x16x16\n40"]
    assert texts[4:6] == ["score: 4 to 1", "Linear\n1\n5"]
    assert len(texts) == 6 * len(networks)
    heights = [text.get_position()[1] for text in axes.texts]
    assert heights == sorted(heights)  # from top to bottom
