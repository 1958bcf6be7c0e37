"""Fake quantization whose widths and scale modes are tensors, so that changing them retraces nothing."""
