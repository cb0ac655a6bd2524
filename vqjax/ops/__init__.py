"""Operations with one contract on every platform, and with a quicker way to the same numbers on a CPU.

On an accelerator each operation is plain `lax`. XLA's CPU back end is slow at some of them, above all at their
gradients. There the same sums are written in another order, and results and gradients equal those of plain `lax` but
for the last bits of float32. A program that is exported on a CPU has the way of each platform. Only this room names a
platform. `tests/ops/test_equals_lax.py` holds it to this page.

conv.conv(x, kernel, stride): (B, H, W, C), (k, k, C, O) -> (B, H / s, W / s, O)
    Equals `lax.conv_general_dilated` with (k - s + 1) // 2 zeros on every side. Strided convolutions and their
    gradients are slow on a CPU. There it is a product with the patches under the kernel or, with many channels
    (`winograd.is_faster`), Winograd's minimal filtering, which halves the multiplications. With stride 1 the gradients
    keep the one layout that is quick inside loops too. A 1 x 1 kernel is `dense` everywhere.
conv.conv_transpose(x, kernel, stride): (B, H, W, C), (2 s, 2 s, C, O) -> (B, s H, s W, O), s even
    Equals `lax.conv_general_dilated` with `lhs_dilation`, the transpose of a `conv` with that stride. On a CPU it is a
    product whose patches are added where they overlap, or Winograd's: neither multiplies by the zeros of the dilation.
conv.conv_valid(x, kernel): (B, h + m - 1, w + n - 1, C), (m, n, C, O) -> (B, h, w, O)
    Equals `lax.conv_general_dilated` with "VALID" padding. On a CPU it is a product with shifted copies side by side,
    or Winograd's. An output depends on the inputs under its own window alone, to the last bit.
conv.max_pool(x): (B, H, W, C) -> (B, H // 2, W // 2, C)
    Equals `lax.reduce_window` with `lax.max` over 2 x 2, but equal maxima share their gradient. One way everywhere.
matmul.matmul(x, weights): (..., N, C), (..., C, O) -> (..., N, O)
matmul.dense(x, weights), and the layer matmul.Dense: (..., C), (C, O) -> (..., O)
    Equal `jnp.matmul`. On a CPU the gradient of the weights is up to four times as quick as a product of two matrices,
    transposed if C > O.
search.nearest_codes(z, codebook): (..., D), (K, D) -> (...) int32
    Equals `lax.argmin` over the distances: of equally near codes the first. Everywhere it goes block by block, with
    minima in place of argmin; on a CPU a block fits in a core's cache.
search.code_means(codes, z, num_codes): (...), (..., D) -> (K,), (K, D)
    Equals `jnp.bincount` and `jax.ops.segment_sum`, both divided by the number of positions. An accelerator multiplies
    by one-hot rows while they are few, which is quicker there than the scatter of `segment_sum`.
select.select_tree(choice, new, old): () bool, two trees -> a tree
    Equals `jnp.where` at each leaf. On a CPU it is one `lax.cond`: XLA would compile the many choices for minutes.
kmeans.kmeans(vectors, num_codes, seed): NumPy arrays, (N, D) -> (K, D)
    Lloyd's algorithm on the host, with `nearest_codes` where it pays.

`platforms` has the means: `by_platform` chooses between two ways, `trace_for` keeps a device's way alone, `on_cpu` is
the question that other rooms may ask, `jit_fast_compile` is for a program that is called a few times, and
`EXPORT_PLATFORMS` are those of exported programs. `axes` names the axis of devices, and
`keys` has what each part of a network makes of the examples' keys.
"""
