"""A model that reads whole texts at once, run by transformers or by ONNX Runtime: a sequence classifier or an encoder.

Shapes: B texts, T tokens, D features of an encoder or labels of a classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from distill_eval.engine import Dtype
from distill_eval.engine.genai import INSTALL
from distill_eval.errors import ModelError, boundary

GRAPH = "model.onnx"
LOGITS = "logits"
"""What a classifier's graph calls its output."""


class Encoder(Protocol):
    """Satisfied by `HFEncoder` and `OnnxEncoder`."""

    what: str
    """What is run, for people."""

    def run(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """Logits of a classifier, or the mean of an encoder's last states over the tokens of each text [B, D].

        Args:
            encoded: A tokenizer's output [B, T].
        """
        ...


class HFEncoder:
    """A folder of transformers."""

    def __init__(self, folder: Path, *, dtype: Dtype = "auto", device: str = "cpu") -> None:
        """Load it.

        Raises:
            ModelError: it cannot be loaded, or lacks weights.
        """
        with boundary(ModelError, f"{folder} cannot be loaded by transformers"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            self._classifies = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
            auto: Any = AutoModelForSequenceClassification if self._classifies else AutoModel
            model, info = auto.from_pretrained(
                folder,
                dtype=dtype if dtype == "auto" else getattr(torch, dtype),
                device_map=device,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        # A pooler that the files do not have is filled with noise, and the mean does not read it.
        missing = sorted(name for name in info["missing_keys"] if self._classifies or "pooler" not in name)
        if missing:
            raise ModelError(f"{folder}: the weight files lack {', '.join(missing[:3])}; is the folder complete?")
        self.model = model.eval().requires_grad_(False)
        self.what = f"{type(model).__name__}, {'logits' if self._classifies else 'mean over tokens'}"
        self.dtype = str(model.dtype).removeprefix("torch.")

    @torch.no_grad()
    def run(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """As `Encoder.run`."""
        with boundary(ModelError, f"{type(self.model).__name__} cannot be run by transformers"):
            inputs = {name: values.to(self.model.device) for name, values in encoded.items()}
            found = self.model(**inputs)
            result: Tensor = found.logits if self._classifies else _mean(found.last_hidden_state, inputs)
            return result.cpu()


class OnnxEncoder:
    """A folder with an ONNX graph, and what runs it."""

    def __init__(self, folder: Path, device: str) -> None:
        """Load it.

        Raises:
            ModelError: ONNX Runtime is not installed, or does not load it.
        """
        if find_spec("onnxruntime") is None:
            raise ModelError(f"{folder} is run by ONNX Runtime, which is not installed: {INSTALL}")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
        with boundary(ModelError, "the exported classifier cannot be loaded by ONNX Runtime"):
            self._session = onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=[provider])
        self._inputs = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        self._classifies = LOGITS in outputs
        self._output = LOGITS if self._classifies else outputs[0]
        self.what = f"{GRAPH} on {provider}, {'logits' if self._classifies else 'mean over tokens'}"

    def run(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """As `Encoder.run`."""
        with boundary(ModelError, "the exported classifier cannot be run by ONNX Runtime"):
            found: np.ndarray[Any, Any] = self._session.run(
                [self._output], {name: encoded[name].numpy() for name in self._inputs}
            )[0]
        result = torch.from_numpy(found)
        return result if self._classifies else _mean(result, encoded)


def _mean(states_BTD: Tensor, encoded: Mapping[str, Tensor]) -> Tensor:
    mask_BT1 = encoded["attention_mask"][..., None]
    return (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
