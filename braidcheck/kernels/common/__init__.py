"""What two ops share: device code, launch configs, validation, inputs, the patched interpreter."""
