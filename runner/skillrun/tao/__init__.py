"""NVIDIA's published container: the spec it reads, the status it writes, and the result that the runner derives.

That container knows nothing of this runner: it gets a spec without the keys it does not know, appends lines to
``status.json`` and leaves files. Events and ``result.json`` are made here.
"""
