"""Operations with one contract on every platform, and with a quicker way to the same numbers on a CPU.

On accelerators an operation is plain `lax`. XLA's CPU back end is slow at some of these, above all at gradients, and
there the same sums are written in another order: equal to plain `lax`, gradients included, but for the last bits of
float32. Parameters and results have one layout everywhere. A program that is exported on a CPU has the way of each
platform. This is the only room that names a platform; `tests/ops/test_equals_lax.py` holds it to this page.

`conv(x, kernel, stride)` in `ops.conv`: (B, H, W, C), (k, k, C, O) -> (B, H / s, W / s, O)
    Is `lax.conv_general_dilated` with (k - s + 1) // 2 zeros on every side. On a CPU: a product with the patches under
    the kernel, as strided convolutions and their gradients are slow there; Winograd's minimal filtering where channels
    are many (`ops.winograd.is_faster`), which needs half of the multiplications; for stride 1, gradients in the one
    layout that is quick inside loops too. A 1 x 1 kernel is `dense` on every platform.
`conv_transpose(x, kernel, stride)` in `ops.conv`: (B, H, W, C), (2 s, 2 s, C, O) -> (B, s H, s W, O), s even
    Is `lax.conv_general_dilated` with `lhs_dilation`, the transpose of a `conv` of that stride. On a CPU: a product
    whose patches are added where they overlap, or Winograd's, as XLA would multiply by the zeros of the dilation.
`conv_valid(x, kernel)` in `ops.conv`: (B, h + m - 1, w + n - 1, C), (m, n, C, O) -> (B, h, w, O)
    Is `lax.conv_general_dilated` with "VALID" padding. On a CPU: a product with the shifted copies side by side, or
    Winograd's. An output depends on the inputs under its own window alone, to the last bit.
`max_pool(x)` in `ops.conv`: (B, H, W, C) -> (B, H // 2, W // 2, C)
    Is `lax.reduce_window` with `lax.max` over 2 x 2; the gradient of equal maxima is shared instead of the first's.
`matmul(x, weights)`, `dense(x, weights)`, the layer `Dense` in `ops.matmul`: (..., C), (C, O) -> (..., O)
    Is `jnp.matmul`; `matmul` takes batches of matrices, too. On a CPU the weight gradient is computed as a product of
    two matrices, transposed where C > O: up to four times as quick.
`nearest_codes(z, codebook)` in `ops.search`: (..., D), (K, D) -> (...) int32
    Is `lax.argmin` over the distances, of equal ones the first. It runs block by block with minima in place of argmin,
    which is quick everywhere; only the size of the blocks depends on the platform.
`code_means(codes, z, num_codes)` in `ops.search`: (...), (..., D) -> the share of each code (K,), its sum (K, D)
    Is `jax.ops.segment_sum`, divided by the number of vectors. An accelerator multiplies by one-hot rows instead, as long as they are few.
`select_tree(choice, new, old)` in `ops.select`: () bool, two equal trees -> one of them
    Is `jnp.where` at each leaf. On a CPU it is one `lax.cond`, as XLA compiles many small choices for minutes there.
`kmeans(vectors, num_codes, seed)` in `ops.kmeans`: NumPy arrays (N, D) -> (K, D)
    Is Lloyd's algorithm on the host, with `nearest_codes` where it pays.

`ops.platforms` has the means: `by_platform` (two ways), `trace_for` (a device's way alone), `on_cpu` (a question),
`jit_fast_compile` (a program that is called a few times) and `EXPORT_PLATFORMS`. `ops.axes` names the axis of devices.
"""
