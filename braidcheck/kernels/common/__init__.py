"""Code shared by several ops: device code, launch configs, validation, inputs, the patched interpreter."""
