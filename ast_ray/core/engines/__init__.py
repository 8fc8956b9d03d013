"""Engines: they compute the gradient of one student step, and that gradient's own derivative (Eq. 20-22).

Two functions of fixed shape are all that `core.bilevel.hypergradient` needs of a network: the gradient g of the inner
loss, and for a direction w on the weights the derivative of <g, w> with respect to weights and images. The engines
differ in speed and rounding alone:

autograd   any network, torch's double backward; the reference
eager      ConvNet's step written out (`convnet_step`), one operation after the other
compiled   the same with everything between the convolutions fused by torch.compile
graphed    the compiled step captured once as CUDA graphs and replayed

`expert_step` has the expert's step in the same two ways, the gradient penalty included (Eq. 19). Convolutions may take
bfloat16 (`core.precision`).

Start at `step`.
"""
