"""The hand-derived ConvNet engine: kernels, convolutions, blocks, the step and the penalty."""
