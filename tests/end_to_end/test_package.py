"""What setup.py builds: a wheel and a source distribution that hold all and only the packages, used far from here."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.test_imports import imported_names

ROOT = pathlib.Path(__file__).parents[2]
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_{}(sys.argv[1]))"
CONFIG = """
from bert_tf.core.config import OptimizerConfig, PretrainConfig, PretrainDataConfig, TrainConfig
from bert_tf.models.bert.config import preset

def get_config():
    return PretrainConfig(
        model=preset("tiny", vocab_size=400),
        data=PretrainDataConfig(train="shards", max_seq_length=64, max_predictions_per_seq=10),
        optimizer=OptimizerConfig(warmup_steps=2),
        train=TrainConfig(steps=6, global_batch_size=4, log_every=2, checkpoint_every=6, evaluate_every=6),
    )
"""


def succeed(*command, cwd: pathlib.Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def build(source: pathlib.Path, kind: str, target: pathlib.Path) -> pathlib.Path:
    target.mkdir(exist_ok=True)
    name = succeed(sys.executable, "-c", BUILD.format(kind), target, cwd=source).splitlines()[-1]
    return target / name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    """Built from a source distribution, which was built from a copy of this tree."""
    folder = tmp_path_factory.mktemp("package")
    names = [path for path in ROOT.iterdir() if path.suffix in (".py", ".toml", ".md") or path.name == "LICENSE"]
    (folder / "tree").mkdir()
    for path in names:
        shutil.copy(path, folder / "tree")
    for name in ("bert_tf", "pipelines", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, folder / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    archive = build(folder / "tree", "sdist", folder / "dist")
    shutil.unpack_archive(archive, folder / "unpacked", filter="data")
    return build(next((folder / "unpacked").iterdir()), "wheel", folder / "dist")


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    here = {
        str(path.relative_to(ROOT))
        for name in ("bert_tf", "pipelines")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert there == here


def test_a_beam_worker_installs_what_pipelines_import_and_nothing_for_models(wheel):
    [metadata] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("METADATA")]
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    wanted = {
        re.match(r"Requires-Dist: ([\w-]+)", line)[1].lower()
        for line in lines
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    }
    assert not wanted & {"tensorflow-serving-api", "matplotlib", "scikit-learn", "scipy", "nltk", "werkzeug"}
    sources = [path for name in ("pipelines", "bert_tf/core", "bert_tf/text") for path in (ROOT / name).rglob("*.py")]
    sources = [path for path in sources if path.parent.name != "stores"]  # their clients are extras
    imported = {name.split(".")[0] for path in sources for name in imported_names(path)}
    outside = imported - sys.stdlib_module_names - {"bert_tf", "pipelines", "grpc"}  # Beam brings grpc
    installed_by = {"absl": "absl-py", "backports": "backports-zstd", "google_crc32c": "google-crc32c"}
    packages = {installed_by.get(name, name.replace("_", "-")) for name in outside}
    assert packages <= wanted, packages - wanted


@pytest.mark.slow
def test_it_works_where_there_is_no_checkout(wheel, corpus, tmp_path):
    """The packages that it wants are those of this environment: installing them again would take minutes."""
    python = tmp_path / "environment/bin/python"
    succeed(sys.executable, "-m", "venv", tmp_path / "environment", cwd=tmp_path)
    succeed(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # A plain path: the checkout, which this environment has by a .pth file of its own, does not come along.
    site = pathlib.Path(succeed(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip())
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    told = succeed(
        python, "-c", "import bert_tf, pipelines; print(*bert_tf.__path__, *pipelines.__path__)", cwd=tmp_path
    )
    assert told.split() == [str(site / "bert_tf"), str(site / "pipelines")]

    text = ["--input", corpus / "0.txt"]
    arguments = ["--output", "vocab.txt", "--vocab_size", 400]
    succeed(python, "-m", "pipelines.build_vocab", *text, *arguments, cwd=tmp_path)
    arguments = ["--max_seq_length=64", "--max_predictions_per_seq=10", "--num_shards=2", "--direct_num_workers=2"]
    shards = ["--vocab", "vocab.txt", "--output_dir", "shards", *arguments]
    succeed(python, "-m", "pipelines.create_pretraining_data", *text, *shards, cwd=tmp_path)
    (tmp_path / "config.py").write_text(CONFIG)
    out = succeed(python, "-m", "bert_tf.pretrain", "--config", "config.py", "--workdir", "run", cwd=tmp_path)
    assert "step 6/6" in out and (tmp_path / "run/model/model.safetensors").exists()
