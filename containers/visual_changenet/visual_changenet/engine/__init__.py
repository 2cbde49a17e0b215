"""From an ONNX file of action export or quantize to a TensorRT engine.

TensorRT's libraries need a GPU and are not among the packages that tests are installed from, so **no engine has been
built or run by the project's CI**. What is tested there: all that happens before and after the build, and the calls of
``engine/builder.py`` and ``runtime/tensorrt_runtime.py`` against a stand-in of the documented API. ``tests/gpu`` builds
and compares where TensorRT and a GPU are present.
"""
