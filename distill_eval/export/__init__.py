"""The verb `export`: a model as an ONNX graph, and the proof that it is the same model."""
