"""The method in pure torch: no input or output, no Ray, no global state.

Start with `distillation`, whose one outer iteration reads like the paper's Algorithm 2.

Shapes, everywhere: P parameters, S = ipc*K synthetic images, K classes, B batch, C,H,W image, E epochs,
N student steps, M expert epochs. Equations and sections are those of arXiv 2310.10541.
"""
