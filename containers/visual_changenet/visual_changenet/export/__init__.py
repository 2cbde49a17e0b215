"""From a trained network to an ONNX file that is proven to decide as the network does."""
