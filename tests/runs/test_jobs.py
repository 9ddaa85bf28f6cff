"""How failures are said."""

import sys

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mnist_gen.runs import jobs

BROKEN = """
from mnist_gen.errors import UserError

class Broken:
    def __init__(self, sides):
        if sides == 3:
            raise UserError("sides=3: choose 4.")
        self.area = 1 / sides
"""


@pytest.fixture
def broken(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "broken_package.Broken"
    sys.modules.pop("broken_package", None)


def said(target, capsys, **options):
    cfg = OmegaConf.create({"model": {"_target_": target, **options}})
    with pytest.raises(InstantiationException) as error:
        instantiate(cfg.model)
    jobs.report(error.value, cfg)
    return capsys.readouterr().err.strip()


def test_an_error_inside_ones_own_class_shows_where(broken, capsys):
    text = said(broken, capsys, sides=0)
    assert text.startswith("Traceback")
    assert "self.area = 1 / sides" in text


def test_mistakes_of_the_user_are_one_line(broken, capsys):
    assert said(broken, capsys, sides=3) == "error: model: sides=3: choose 4."
    for target, options in ((broken, {"corners": 4}), ("broken_package.Whole", {}), ("no_package.Broken", {})):
        (line,) = said(target, capsys, **options).splitlines()
        assert target in line
